"""Experts that were tuned, put into models, taken out again and compared."""
