"""SHOW: results become a page tree, and the tree HTML or text; no torch."""
