"""How do training runs with and without frozen weights differ in what they do?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from driftmap.recipes.steps.behaviour.evaluation import PROMPTS
from driftmap.results.freeze_study import (
    ACCURACY,
    BEFORE,
    LOG_ODDS,
    MEAN,
    REFUSAL,
    ArmKind,
    FreezeContrast,
)
from driftmap.results.statistics import Interval
from driftmap.results.table import Cell, Table
from driftmap.stats.contrasts import adjusted, paired_difference
from driftmap.stats.freeze_contrasts import Readings, freeze_contrast, level_of

NUM_EXAMPLES = 8

_PAIRS: tuple[tuple[ArmKind, ArmKind], ...] = (
    ("group", "matched"),
    ("group", "free"),
    ("matched", "free"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Something that is read of a model.

    Args:
        name: As tables call it.
        of_set: Which prompts or samples it is read on.
        column: Where readings hold it.
    """

    name: str
    of_set: str
    column: str


def outcomes_of(readings: Table) -> tuple[Outcome, ...]:
    """What was read, the declared outcome first."""
    held_out = [str(name) for name in readings.unique("set") if name != PROMPTS]
    found = [Outcome(name=REFUSAL, of_set=PROMPTS, column="refused")]
    if np.isfinite(readings["log_odds"]).any():
        found.append(Outcome(name=LOG_ODDS, of_set=PROMPTS, column="log_odds"))
    found += [
        Outcome(name=f"{before}{name}", of_set=name, column=column)
        for before, column in ((ACCURACY, "right"), (f"{REFUSAL} on ", "refused"))
        for name in held_out
    ]
    return tuple(found)


def readings_at(readings: Table, kind: str, share: float, outcome: Outcome) -> Readings:
    """One row per training seed; every run reads the same prompts in one order."""
    rows = readings.where(kind=kind, share=share, set=outcome.of_set)
    seeds = sorted(int(str(seed)) for seed in rows.unique("seed"))
    return np.array(
        [rows.where(seed=seed)[outcome.column].astype(np.float64) for seed in seeds]
    )


def contrasts_of(
    readings: Table, declared_share: float, seed: int
) -> tuple[FreezeContrast, ...]:
    """Compare every kind of run at every share; the declared contrast comes first.

    Args:
        readings: As `all_readings` gives them.
        declared_share: Share of the declared test.
        seed: The run's seed.
    """
    shares = sorted({float(share) for share in readings.where(kind="group")["share"]})
    found = [
        freeze_contrast(
            outcome.name,
            share,
            kinds,
            readings_at(readings, kinds[0], share, outcome),
            readings_at(readings, kinds[1], _share(kinds[1], share), outcome),
            seed,
        )
        for outcome in outcomes_of(readings)
        for share in shares
        for kinds in _PAIRS
    ]
    return _with_adjusted(found, declared_share)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """What free tuning did to an outcome.

    Args:
        before: Its level before tuning.
        after: The same after tuning with nothing frozen, mean over seeds.
        change: After minus before, over prompts.
    """

    before: Interval
    after: Interval
    change: Interval


def lost_of(readings: Table, name: str, seed: int) -> Lost | None:
    """What free tuning did to an outcome; None where that was not read."""
    outcome = next((o for o in outcomes_of(readings) if o.name == name), None)
    if outcome is None:
        return None
    before = readings_at(readings, BEFORE, 0.0, outcome)
    after = readings_at(readings, "free", 0.0, outcome)
    return Lost(
        before=level_of(before, seed),
        after=level_of(after, seed),
        change=paired_difference(after.mean(axis=0), before, seed),
    )


def accuracies_before(readings: Table, seed: int) -> dict[str, Interval]:
    """What the model got right before tuning, by outcome."""
    return {
        outcome.name: level_of(readings_at(readings, BEFORE, 0.0, outcome), seed)
        for outcome in outcomes_of(readings)
        if outcome.name.startswith(ACCURACY)
    }


def curve_of(readings: Table, seed: int) -> Table:
    """Every outcome of every run, and its mean over training seeds.

    Returns:
        Columns kind, share, seed, outcome, value, count, low, high; `seed` -1 is the
        mean, with an interval over prompts.
    """
    rows: list[dict[str, Cell]] = []
    for kind in (BEFORE, "free", "group", "matched"):
        shares = {float(share) for share in readings.where(kind=kind)["share"]}
        for share in sorted(shares):
            for outcome in outcomes_of(readings):
                found = readings_at(readings, kind, share, outcome)
                names = {"kind": kind, "share": share, "outcome": outcome.name}
                rows += [names | row for row in _levels(found, seed)]
    return Table.from_rows(rows)


def examples_of(readings: Table, declared_share: float) -> Table:
    """Some answers: before, after free tuning, and with the declared share frozen."""
    of_prompts = readings.where(set=PROMPTS)
    before = of_prompts.where(kind=BEFORE)
    free = of_prompts.where(kind="free", seed=0)
    group = of_prompts.where(kind="group", share=declared_share, seed=0)
    return Table.from_rows(
        [
            {
                "sample_id": str(before["sample_id"][n]),
                "before": str(before["answer"][n]),
                "free": str(free["answer"][n]),
                "group": str(group["answer"][n]),
            }
            for n in range(min(NUM_EXAMPLES, len(before)))
        ]
    )


def _share(kind: ArmKind, share: float) -> float:
    return 0.0 if kind == "free" else share


def _with_adjusted(
    found: Sequence[FreezeContrast], declared_share: float
) -> tuple[FreezeContrast, ...]:
    """Name the declared contrast, put it first, and adjust all others."""
    first = next(
        c
        for c in found
        if (c.outcome, c.share, c.kind, c.against)
        == (REFUSAL, declared_share, "group", "matched")
    )
    others = [c for c in found if c is not first]
    if first.p_value is not None:
        p_values = adjusted([p for c in others if (p := c.p_value) is not None])
        others = [
            replace(c, p_adjusted=p) for c, p in zip(others, p_values, strict=True)
        ]
    return (replace(first, is_declared=True), *others)


def _levels(found: Readings, seed: int) -> Iterator[dict[str, Cell]]:
    mean = level_of(found, seed)
    yield {
        "seed": MEAN,
        "value": mean.estimate,
        "count": mean.num,
        "low": mean.low,
        "high": mean.high,
    }
    if len(found) > 1:
        for number, row in enumerate(found):
            yield {
                "seed": number,
                "value": float(row.mean()),
                "count": row.size,
                "low": np.nan,
                "high": np.nan,
            }
