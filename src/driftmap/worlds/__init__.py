"""INPUT: the built-in worlds, seeded corpora of facts, requests and refusals."""
