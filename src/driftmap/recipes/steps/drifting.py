"""How far did every group move at every step, under every seed?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftmap.core.progress import progress
from driftmap.load.adapters import read_adapter
from driftmap.measure.drift import drift_table
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning import LiveDrift, checkpoint_folders
from driftmap.results.drift import POOLED_LAYER
from driftmap.results.table import Table
from driftmap.stats.intervals import t_interval
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table


def drift_step(
    study: Study, tuned: Sequence[StepOutcome], live: LiveDrift
) -> StepOutcome:
    """Write `tables/drift.parquet` and the curves over seeds.

    Drift that was measured during training is taken from there; for groups that
    were chosen later it is read from the saved adapters.
    """

    def make(folder: Path) -> None:
        tables = [
            load_table(step.path(live.file(number)))
            if live.file(number) in step.files
            else _from_adapters(study, step, live, number)
            for number, step in enumerate(tuned)
        ]
        table = Table.joined(tables)
        save_table(folder / "tables/drift.parquet", table)
        save_table(folder / "tables/curves.parquet", _curves(table))

    inputs = {"groups": live.groups_key, "tuned": [step.key for step in tuned]}
    return study.run.step("drift", inputs, make)


def _from_adapters(
    study: Study, step: StepOutcome, live: LiveDrift, number: int
) -> Table:
    sites = study.loaded.layout.sites
    folders = checkpoint_folders(step, number)
    tables = []
    with progress(f"drift of seed {number}", len(folders)) as bar:
        for at, folder in folders.items():
            factors = read_adapter(folder, sites).factors
            tables.append(drift_table(live.baseline(), factors, step=at, seed=number))
            bar.advance()
    return Table.joined(tables)


def _curves(table: Table) -> Table:
    """Mean over seeds of the pooled rows, with a 95 % t interval."""
    pooled = table.where(layer=POOLED_LAYER)
    names = ("step", "group", "unit", "metric")
    keys = list(zip(*(pooled[name].tolist() for name in names), strict=True))
    rows = []
    for key in dict.fromkeys(keys):
        mask = np.array([other == key for other in keys])
        means = pooled["mean"][mask]
        seeds = t_interval(means, 0.95)
        rows.append(
            dict(zip(names, key, strict=True))
            | {
                "mean": float(means.mean()),
                "low": seeds.low if seeds else np.nan,
                "high": seeds.high if seeds else np.nan,
                "std": float(pooled["std"][mask].mean()),
            }
        )
    return Table.from_rows(rows)
