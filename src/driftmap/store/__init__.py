"""KEEP: results to a run folder and back; no model code."""
