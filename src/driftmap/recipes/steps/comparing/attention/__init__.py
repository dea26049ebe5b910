"""What do two models look at: rows of both read alike, shifts over subjects."""
