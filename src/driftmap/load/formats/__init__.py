"""One file per known dataset shape."""
