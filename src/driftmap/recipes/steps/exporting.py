"""How do the groups and the drift of a study leave in the published JSON shapes?"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from driftmap.core.progress import progress, say
from driftmap.core.units import format_count
from driftmap.measure.drift import DriftBaseline, published_summary
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.choosing import load_groups
from driftmap.recipes.steps.inference.concluding import Tuned
from driftmap.recipes.steps.tuning.checkpoints import changes_at
from driftmap.recipes.steps.tuning.training import checkpoint_folders, live_drift
from driftmap.results.drift import PublishedMetric
from driftmap.results.groups import WeightGroup
from driftmap.results.table import Cell, Table
from driftmap.stats.log_effects import last_comparisons
from driftmap.store.drift_logs import (
    COMPARISONS_FILE,
    export_comparisons,
    export_drift_logs,
)
from driftmap.store.interop import MOST_WEIGHTS, export_json_group
from driftmap.store.steps import StepOutcome

PUBLISHED = {
    "top": "safety_snip_top",
    "difference": "safety_set_diff",
    "utility": "utility",
    "random": "random",
}
"""What the published files call a group, in their order."""


def export_step(study: Study, tuned: Tuned) -> StepOutcome:
    """Write `json/`: groups, drift at every checkpoint, and Cohen's d at the last.

    A group that is too large for JSON is left out and named; nothing else waits for
    it, and its safetensors file holds the same.

    Args:
        study: Folder, model and seed.
        tuned: Groups and training runs.
    """

    def make(folder: Path) -> None:
        groups = load_groups(study, tuned.groups)
        names = published_names([group.name for group in groups])
        # The published logs count what cannot move as zeros.
        baseline = live_drift(study, tuned.groups).baseline()
        for group in groups:
            _export_group(folder / f"json/groups/{names[group.name]}.json", group)
        for number, run in enumerate(tuned.runs):
            home = folder / f"json/seed-{number}"
            logs = _logs(study, baseline, names, checkpoint_folders(run, number))
            export_drift_logs(home, logs)
            export_comparisons(home / COMPARISONS_FILE, last_comparisons(logs))

    inputs = {
        "groups": tuned.groups.key,
        "tuned": [run.key for run in tuned.runs],
        "most_weights": MOST_WEIGHTS,
    }
    return study.run.step("export", inputs, make)


def published_names(groups: Sequence[str]) -> dict[str, str]:
    """Name groups as the published files do, those they have first.

    A published name that another group has already is not given twice.

    >>> published_names(["difference", "matched", "top"])
    {'top': 'safety_snip_top', 'difference': 'safety_set_diff', 'matched': 'matched'}
    """
    known = [name for name in PUBLISHED if name in groups]
    ordered = [*known, *(name for name in groups if name not in known)]
    return {
        name: name if PUBLISHED.get(name, name) in groups else PUBLISHED[name]
        for name in ordered
    }


def _export_group(path: Path, group: WeightGroup) -> None:
    if group.num_weights > MOST_WEIGHTS:
        say(
            f"`{group.name}` has {format_count(group.num_weights)} weights, JSON is "
            f"for at most {format_count(MOST_WEIGHTS)}: it is left out of the export; "
            f"groups/{group.name}.safetensors holds it"
        )
        return
    export_json_group(path, group)


def _logs(
    study: Study,
    baseline: DriftBaseline,
    names: dict[str, str],
    checkpoints: dict[int, Path],
) -> Table:
    rows: list[dict[str, Cell]] = []
    with progress("export drift", len(checkpoints)) as bar:
        for step in checkpoints:
            changes = changes_at(study, checkpoints, step).by_site
            rows += _rows(published_summary(baseline, changes), names, step)
            bar.advance()
    return Table.from_rows(rows)


def _rows(
    found: Mapping[PublishedMetric, Mapping[str, Mapping[str, float | int]]],
    names: dict[str, str],
    step: int,
) -> Iterator[dict[str, Cell]]:
    for metric, groups in found.items():
        for group, name in names.items():
            yield {"step": step, "metric": metric, "group": name, **groups[group]}
