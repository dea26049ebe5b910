"""INPUT: names and files become models, samples and batches."""
