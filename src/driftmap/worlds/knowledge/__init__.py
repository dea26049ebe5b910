"""What does a model of a world know, and what is true there?

A package of its own: the organism does not depend on it, so it is not made anew where
only these files change.
"""
