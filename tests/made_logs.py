"""Drift logs made of chosen numbers."""

import json
from pathlib import Path

from driftmap.results.drift_logs import LogsStatistics, LogsStudy
from driftmap.results.statistics import Caution
from driftmap.results.table import Table
from driftmap.stats.log_effects import checked_comparisons, logged_effects

FIGURES = ("mean", "std", "min", "q25", "median", "q75", "max", "count")


def summary(mean, std, *, low=0.0, high=None, count=100):
    """Eight numbers that some set of values could have."""
    high = mean + 3.1 * std if high is None else high
    middle = sorted([low, mean, high])
    quartiles = [(middle[0] + mean) / 2, mean, (mean + middle[2]) / 2]
    return dict(zip(FIGURES, (mean, std, low, *quartiles, high, count), strict=True))


def empty():
    """What the published convention writes for a group without weights."""
    return dict.fromkeys(FIGURES, 0.0) | {"count": 0}


def write_log(folder: Path, step: int, metrics: dict) -> Path:
    """One log, under its usual name."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"drift_step_{step:06d}.json"
    file.write_text(json.dumps({"step": step, "metrics": metrics}))
    return file


def write_logs(folder: Path) -> Path:
    """Two steps of two metrics, worked out by hand in the tests that read them.

    At step 20, absolute change: difference 5, utility 3, random 2, all with standard
    deviation 2: d of difference is 1 against utility and 1.5 against random.
    """
    for step, scale in ((10, 0.5), (20, 1.0)):
        change = {
            name: summary(mean * scale, 2.0 * scale)
            for name, mean in (
                ("safety_set_diff", 5.0), ("utility", 3.0), ("random", 2.0)
            )
        }  # fmt: skip
        turned = {
            "safety_set_diff": summary(0.9, 0.1, low=0.5, high=1.0),
            "utility": summary(0.8, 0.1, low=0.5, high=1.0),
        }
        write_log(
            folder, step, {"absolute_change": change, "cosine_similarity": turned}
        )
    return folder


def write_comparisons(folder: Path, pairs: dict) -> Path:
    """A `statistical_results.json`, from metric -> pair -> six numbers."""
    file = folder / "statistical_results.json"
    file.write_text(json.dumps(pairs))
    return file


def comparison(group, baseline, d):
    """The six numbers of a pair from (mean, std) of both."""
    return {
        "mean_diff": group[0] - baseline[0],
        "cohens_d": d,
        "group_mean": group[0],
        "baseline_mean": baseline[0],
        "group_std": group[1],
        "baseline_std": baseline[1],
    }


CAUTIONS = tuple(
    Caution(name=name, sentence=f"{name} is so.", value=1.0, is_blocking=blocking)
    for name, blocking in (
        ("half-precision", True), ("immobile", False), ("relative", False)
    )
)  # fmt: skip


def logs_study(*, groups=None, metrics=None, steps=(500, 1000, 1500), comparisons=None):
    """Logs of all published metrics and groups, every caution, one gap."""
    groups = groups or ("safety_snip_top", "safety_set_diff", "utility", "random")
    metrics = metrics or (
        "absolute_change", "relative_change", "cosine_similarity", "l2_distance",
    )  # fmt: skip
    logs = Table.from_rows(
        [
            {"step": step, "metric": metric, "group": group}
            | summary(step * 1e-7 * (1 + place / 4), step * 2e-7)
            for step in steps
            for metric in metrics
            for place, group in enumerate(groups)
        ]
    )
    return LogsStudy(
        source="somewhere/drift_logs",
        logs=logs,
        effects=logged_effects(logs),
        statistics=LogsStatistics(
            steps=tuple(steps),
            metrics=tuple(metrics),
            groups=tuple(groups),
            gaps=("`a` lacks `b`",),
            checks=checked_comparisons(logs, comparisons) if comparisons else (),
            cautions=CAUTIONS,
            sha256={"drift_step_000500.json": "0" * 64},
        ),
    )
