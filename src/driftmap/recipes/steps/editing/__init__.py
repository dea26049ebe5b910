"""Facts taught to a model: rows, training, and both models side by side."""
