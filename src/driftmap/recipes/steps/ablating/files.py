"""Where in a run of an ablation does each result lie?"""

ABOUT_FILE = "about.json"
"""Which model the run speaks of."""

STATISTICS_FILE = "statistics.json"
"""Contrasts, cautions and verdict."""

ABLATION_KIND = "driftmap.ablation"
"""The kind that `statistics.json` names."""

DOSES = "tables/doses.parquet"
"""Every outcome of every arm at every dose."""

EXAMPLES = "tables/examples.parquet"
"""Some answers before and after."""

DIRECTIONS_STEP = "directions"
"""The step that finds directions, in runs that take any."""

DIRECTIONS = "tables/directions.parquet"
"""Rank and energy of every matrix's outputs, where directions are taken."""
