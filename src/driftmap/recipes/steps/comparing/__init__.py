"""Two models beside each other: a base, and what somebody made of it."""
