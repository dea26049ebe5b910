"""How far did every group move at every step, under every seed?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftmap.core.progress import progress
from driftmap.measure.drift import drift_table
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.checkpoints import changes_at, nothing_moved
from driftmap.recipes.steps.tuning.training import LiveDrift, checkpoint_folders
from driftmap.results.drift import POOLED_LAYER
from driftmap.results.table import Cell, Table
from driftmap.stats.intervals import t_interval
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table


def drift_step(
    study: Study, tuned: Sequence[StepOutcome], live: LiveDrift
) -> StepOutcome:
    """Write `tables/drift.parquet` and the curves over seeds.

    Drift that was measured during training is taken from there if every training
    run has it; for groups that were chosen later it is read from the saved checkpoints,
    for all runs alike, so that every curve is over the same runs at each step.
    """
    along_the_way = all(
        live.file(number) in step.files for number, step in enumerate(tuned)
    )

    def make(folder: Path) -> None:
        tables = [
            load_table(step.path(live.file(number)))
            if along_the_way
            else _from_checkpoints(study, step, live, number)
            for number, step in enumerate(tuned)
        ]
        table = Table.joined(tables)
        save_table(folder / "tables/drift.parquet", table)
        save_table(folder / "tables/curves.parquet", drift_curves(table))

    inputs = {
        "groups": live.groups_key,
        "tuned": [step.key for step in tuned],
        "live": along_the_way,
    }
    return study.run.step("drift", inputs, make)


def _from_checkpoints(
    study: Study, step: StepOutcome, live: LiveDrift, number: int
) -> Table:
    folders = checkpoint_folders(step, number)
    tables = []
    with progress(f"drift of seed {number}", len(folders)) as bar:
        for at in folders:
            changes = changes_at(study, folders, at).by_site
            if not tables and at > 0:
                # Checkpoints from elsewhere may begin later; nothing has moved at 0.
                still = nothing_moved(changes)
                tables.append(drift_table(live.baseline(), still, step=0, seed=number))
            tables.append(drift_table(live.baseline(), changes, step=at, seed=number))
            bar.advance()
    return Table.joined(tables)


def drift_curves(table: Table) -> Table:
    """Mean over seeds of the pooled rows, with a 95 % t interval.

    Args:
        table: The drift table, all steps and seeds.

    Returns:
        Columns step, group, unit, metric, mean, low, high and std (mean over seeds);
        rows in the order in which the table first names them.
    """
    pooled = table.where(layer=POOLED_LAYER)
    names = ("step", "group", "unit", "metric")
    places: dict[tuple[Cell, ...], list[int]] = {}
    for row, key in enumerate(zip(*(pooled[n].tolist() for n in names), strict=True)):
        places.setdefault(key, []).append(row)
    rows = []
    for key, of_seeds in places.items():
        means = pooled["mean"][of_seeds]
        seeds = t_interval(means, 0.95)
        rows.append(
            dict(zip(names, key, strict=True))
            | {
                "mean": float(means.mean()),
                "low": seeds.low if seeds else np.nan,
                "high": seeds.high if seeds else np.nan,
                "std": float(pooled["std"][of_seeds].mean()),
            }
        )
    return Table.from_rows(rows)
