"""Drift logs as other programs write them."""

import json
from pathlib import Path

SPREAD = {"std": 0.25, "min": 0.0, "max": 1.0, "median": 0.5, "q25": 0.4, "q75": 0.6}
STARTS = {"safety": 0.5, "random": 0.1}


def write_logs(folder: Path, num_steps: int = 3) -> Path:
    """One file a step, one metric, two groups."""
    folder.mkdir()
    for step in range(1, num_steps + 1):
        groups = {
            name: {"mean": start + step / 10, **SPREAD, "count": 50}
            for name, start in STARTS.items()
        }
        log = {"step": step, "metrics": {"absolute_change": groups}}
        (folder / f"drift_step_{step:06d}.json").write_text(json.dumps(log))
    return folder
