"""The waist: what `capture` emits and what measures fold."""
