"""Readings of tokens: texts, what a model gives for them, and their report."""
