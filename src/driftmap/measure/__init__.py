"""ARITHMETIC: tensors in, results out; no model, file, print or clock."""
