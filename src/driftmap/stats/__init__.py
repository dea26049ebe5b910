"""INFERENCE: permutation, bootstrap, many tests, equivalence, effect sizes."""
