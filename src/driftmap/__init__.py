"""Where do behaviours live inside a language model, and how does tuning move them?"""

__version__ = "0.1.0"
