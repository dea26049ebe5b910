"""How far is each group from its controls, in every outcome at every dose?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from driftmap.recipes.steps.ablating.files import (
    ABLATION_KIND,
    DOSES,
    EXAMPLES,
    STATISTICS_FILE,
)
from driftmap.recipes.steps.ablating.readings import load_readings
from driftmap.recipes.steps.behaviour.evaluation import PROMPTS
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import Encoded, EvaluationData
from driftmap.results.ablation import (
    ACCURACY,
    ANSWER_NATS,
    INTACT,
    LOG_ODDS,
    OWN,
    REFUSAL,
    Ablated,
    AblationStatistics,
    DoseContrast,
)
from driftmap.results.plain import to_plain
from driftmap.results.statistics import Interval
from driftmap.results.table import Cell, Table
from driftmap.stats.ablation_cautions import ablation_cautions
from driftmap.stats.ablation_verdict import ablation_verdict
from driftmap.stats.contrasts import (
    adjusted,
    mean_interval,
    paired_difference,
    sign_flip_p,
)
from driftmap.stats.intervals import wilson_interval
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table

NUM_EXAMPLES = 8

Values = Float64[np.ndarray, " prompt"]


def contrast_step(
    study: Study,
    abouts: Sequence[Ablated],
    by: str,
    read: Sequence[StepOutcome],
    asked: EvaluationData,
) -> StepOutcome:
    """Write `tables/doses.parquet` and `statistics.json`.

    Args:
        study: Folder and seed.
        abouts: The groups, the declared one first.
        by: What was done to them.
        read: All steps that read the model, intact first.
        asked: What the model was asked.
    """

    def make(folder: Path) -> None:
        readings = load_readings(read)
        said = _requests(study, asked.prompts[:NUM_EXAMPLES])
        outcomes = _outcomes(readings)
        contrasts = _contrasts(readings, outcomes, abouts, study.seed)
        save_table(folder / DOSES, _levels(readings, outcomes, study.seed))
        save_table(folder / EXAMPLES, _examples(readings, abouts, said))
        found = AblationStatistics(
            by=by,
            groups=tuple(abouts),
            contrasts=contrasts,
            cautions=ablation_cautions(abouts, contrasts, asked.num_shared),
            verdict=ablation_verdict(by, contrasts),
        )
        save_json(folder / STATISTICS_FILE, to_plain(found), ABLATION_KIND)

    inputs = {
        "read": [step.key for step in read],
        "about": to_plain(list(abouts)),
        "by": by,
        "shared": asked.num_shared,
        "seed": study.seed,
    }
    return study.run.step("contrasts", inputs, make)


def _outcomes(readings: Table) -> list[tuple[str, str, str]]:
    """Outcome, set of samples and column, the declared outcome first."""
    kinds = [(REFUSAL, PROMPTS, "refused")]
    if np.isfinite(readings["log_odds"]).any():
        kinds.append((LOG_ODDS, PROMPTS, "log_odds"))
    held_out = [str(name) for name in readings.unique("set") if name != PROMPTS]
    return kinds + [(f"{ACCURACY}{name}", name, "right") for name in held_out]


def _contrasts(
    readings: Table,
    outcomes: Sequence[tuple[str, str, str]],
    abouts: Sequence[Ablated],
    seed: int,
) -> tuple[DoseContrast, ...]:
    found = []
    for about in abouts:
        of_group = readings.where(group=about.name)
        doses = sorted(float(dose) for dose in of_group.unique("dose"))
        for dose in doses:
            at_dose = of_group.where(dose=dose)
            for outcome in outcomes:
                one = _contrast(readings, at_dose, outcome, seed)
                found.append(replace(one, group=about.name, dose=dose))
    return _with_adjusted(found, abouts[0].name)


def _with_adjusted(
    found: Sequence[DoseContrast], declared: str
) -> tuple[DoseContrast, ...]:
    """Name the declared contrast, put it first, and adjust all others."""
    most = max(c.dose for c in found if c.group == declared)
    first = next(
        c for c in found if (c.group, c.dose, c.outcome) == (declared, most, REFUSAL)
    )
    others = [c for c in found if c is not first]
    p_values = adjusted([c.p_value for c in others])
    return (
        replace(first, is_primary=True),
        *(replace(c, p_adjusted=p) for c, p in zip(others, p_values, strict=True)),
    )


def _contrast(
    readings: Table, at_dose: Table, outcome: tuple[str, str, str], seed: int
) -> DoseContrast:
    name, of_set, column = outcome
    before = _values(readings.where(group=INTACT, set=of_set), column)
    rows = at_dose.where(set=of_set)
    own = _values(rows.where(draw=OWN), column)
    draws = sorted(int(draw) for draw in rows.unique("draw") if draw != OWN)
    controls = np.array([_values(rows.where(draw=draw), column) for draw in draws])
    means = controls.mean(axis=1)
    return DoseContrast(
        group="",
        dose=0.0,
        outcome=name,
        intact=_level(before, seed),
        own=_level(own, seed),
        control_mean=float(means.mean()),
        control_low=float(means.min()),
        control_high=float(means.max()),
        num_controls=len(draws),
        difference=paired_difference(own, controls, seed),
        p_value=sign_flip_p(own, controls, seed),
        p_adjusted=None,
        is_primary=False,
    )


def _values(rows: Table, column: str) -> Values:
    """Readings by sample: every arm reads the same samples in the same order."""
    return rows[column].astype(np.float64)


def _level(values: Values, seed: int) -> Interval:
    """Mean: with a Wilson interval where all are 0 or 1, else a bootstrap."""
    if np.isin(values, (0.0, 1.0)).all():
        return wilson_interval(float(values.sum()), values.size)
    return mean_interval(values, seed)


def _levels(
    readings: Table, outcomes: Sequence[tuple[str, str, str]], seed: int
) -> Table:
    """Every outcome of every arm at every dose."""
    rows: list[dict[str, Cell]] = []
    more = [(ANSWER_NATS, PROMPTS, "nll_nats")]
    for group in readings.unique("group"):
        of_group = readings.where(group=group)
        for draw in of_group.unique("draw"):
            of_draw = of_group.where(draw=draw)
            for dose in of_draw.unique("dose"):
                at_dose = of_draw.where(dose=dose)
                for name, of_set, column in (*outcomes, *more):
                    values = _values(at_dose.where(set=of_set), column)
                    values = values[np.isfinite(values)]
                    if values.size:
                        about = {"group": group, "draw": draw, "dose": dose}
                        level = _drawn(values, int(draw), seed)
                        rows.append({**about, "outcome": name, **level})
    return Table.from_rows(rows)


def _drawn(values: Values, draw: int, seed: int) -> dict[str, Cell]:
    """Mean and count; an interval for what is drawn with one."""
    mean, low, high = float(values.mean()), np.nan, np.nan
    if draw == OWN:
        level = _level(values, seed)
        low, high = level.low, level.high
    return {"value": mean, "count": values.size, "low": low, "high": high}


def _requests(study: Study, prompts: Encoded) -> dict[str, str]:
    """Text of prompts as the model reads it, without marks of turns."""
    return {
        prompt.sample_id: str(
            study.loaded.tokenizer.decode(
                prompt.token_ids.tolist(), skip_special_tokens=True
            )
        ).strip()
        for prompt in prompts
    }


def _examples(
    readings: Table, abouts: Sequence[Ablated], said: Mapping[str, str]
) -> Table:
    """Some answers before and after, at the largest dose of each group."""
    before = readings.where(group=INTACT, set=PROMPTS)
    rows: list[Mapping[str, Cell]] = []
    for about in abouts:
        own = readings.where(group=about.name, draw=OWN, set=PROMPTS)
        own = own.where(dose=float(own["dose"].max()))
        rows += [
            {
                "group": about.name,
                "sample_id": str(before["sample_id"][n]),
                "request": said[str(before["sample_id"][n])],
                "before": str(before["answer"][n]),
                "after": str(own["answer"][n]),
            }
            for n in range(min(NUM_EXAMPLES, len(own)))
        ]
    return Table.from_rows(rows)
