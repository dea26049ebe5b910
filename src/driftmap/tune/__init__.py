"""CHANGE: fine-tuning; calls back with step and model, stores no results."""
