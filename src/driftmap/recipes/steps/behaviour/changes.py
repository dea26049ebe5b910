"""How did what the model does change from before tuning to each checkpoint?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftmap.recipes.steps.behaviour.evaluation import PROMPTS, load_readings
from driftmap.recipes.steps.bench import Study
from driftmap.results.statistics import BehaviourChange
from driftmap.results.table import Cell, Table
from driftmap.stats.behaviour import behaviour_change
from driftmap.stats.intervals import wilson_interval
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table

BEFORE = -1
"""Seed number of readings of the model before tuning."""


def behaviour_step(study: Study, evaluated: Sequence[StepOutcome]) -> StepOutcome:
    """Write `tables/behaviour.parquet`: every outcome by seed and step."""

    def make(folder: Path) -> None:
        table = _outcomes(load_readings(evaluated))
        save_table(folder / "tables/behaviour.parquet", table)

    inputs = {"evaluated": [step.key for step in evaluated]}
    return study.run.step("behaviour", inputs, make)


def behaviour_changes(
    evaluated: Sequence[StepOutcome], seed: int
) -> tuple[BehaviourChange, ...]:
    """Compare before with the last step, prompt by prompt; refusal comes first."""
    readings = load_readings(evaluated)
    return tuple(
        _change(outcome, readings.where(set=name), column, seed)
        for outcome, name, column in _kinds(readings)
        if column != "log_odds"
    )


def _kinds(readings: Table) -> list[tuple[str, str, str]]:
    """Outcome, set of samples and column, the declared outcome first."""
    held_out = [str(name) for name in readings.unique("set") if name != PROMPTS]
    kinds = [("refusal rate", PROMPTS, "refused")]
    if np.isfinite(readings["log_odds"]).any():
        kinds.append(("refusal log-odds", PROMPTS, "log_odds"))
    kinds += [(f"accuracy on {name}", name, "right") for name in held_out]
    kinds += [(f"refusal rate on {name}", name, "refused") for name in held_out]
    return kinds


def _outcomes(readings: Table) -> Table:
    rows = []
    seeds = [number for number in readings.unique("seed") if number != BEFORE]
    for outcome, name, column in _kinds(readings):
        of_set = readings.where(set=name)
        for seed in seeds:
            before, after = of_set.where(seed=BEFORE), of_set.where(seed=seed)
            rows += [
                {"seed": seed, "step": step, "outcome": outcome, **_level(values)}
                for step, values in [
                    (0, before[column]),
                    *((s, after.where(step=s)[column]) for s in after.unique("step")),
                ]
            ]
    return Table.from_rows(rows)


def _level(values: np.ndarray) -> dict[str, Cell]:
    """Mean with a Wilson interval where every value is 0 or 1."""
    mean, count = float(np.mean(values)), len(values)
    low = high = float("nan")
    if np.isin(values, (0.0, 1.0)).all():
        interval = wilson_interval(float(values.sum()), count)
        low, high = interval.low, interval.high
    return {"value": mean, "count": count, "low": low, "high": high}


def _change(outcome: str, readings: Table, column: str, seed: int) -> BehaviourChange:
    before = _by_sample(readings.where(seed=BEFORE), column)
    last = readings.where(step=max(readings.unique("step")))
    after = [_by_sample(last.where(seed=n), column) for n in last.unique("seed")]
    return behaviour_change(
        outcome,
        np.array(list(before.values())),
        np.array([[of_run[sample] for sample in before] for of_run in after]),
        seed,
    )


def _by_sample(rows: Table, column: str) -> dict[str, bool]:
    happened = (rows[column] > 0.5).tolist()
    return dict(zip(rows["sample_id"].tolist(), happened, strict=True))
