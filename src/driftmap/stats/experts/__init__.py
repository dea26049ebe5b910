"""STATS of experts: which were chosen by chance, and what they really do."""
