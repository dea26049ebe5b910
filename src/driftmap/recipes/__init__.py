"""JOIN: one frozen dataclass with `run()` per question."""
