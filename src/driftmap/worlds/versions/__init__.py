"""Which pairs of samples of a world say the same in other words?

A package of its own: the organism does not depend on it, so it is not made anew where
only these pairs change.
"""
