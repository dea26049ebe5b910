"""Run a model on a corrupted prompt with single states put back."""
