"""OBSERVE: model and batches become signals; the model is left as found."""
