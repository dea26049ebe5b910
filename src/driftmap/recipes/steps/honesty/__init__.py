"""Honesty readings: two instructions, directions, what they do, and their report."""
