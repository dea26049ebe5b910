"""Where in a run of the freezing experiment does each result lie?"""

ABOUT_FILE = "about.json"
"""Which model the run speaks of."""

STATISTICS_FILE = "statistics.json"
"""Contrasts, overlaps, cautions and verdict."""

FREEZE_KIND = "driftmap.freeze"
"""The kind that `statistics.json` names."""

CURVE = "tables/curve.parquet"
"""Every outcome of every training run, and its mean over seeds."""

OVERLAP = "tables/overlap.parquet"
"""The group chosen again after tuning, matrix by matrix."""

EXAMPLES = "tables/examples.parquet"
"""Some answers before and after tuning."""
