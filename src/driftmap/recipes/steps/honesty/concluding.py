"""What do directions, transfers, units and steering say together?"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from driftmap.load.contrasts import near_duplicates
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.honesty.asked import Question
from driftmap.recipes.steps.honesty.files import (
    RESULT,
    RESULT_KIND,
    load_reading,
    load_steering,
    load_transfers,
    load_units,
)
from driftmap.recipes.steps.honesty.planning import HALVES, Plan
from driftmap.results.honesty import HonestyCounts, HonestyResult
from driftmap.results.plain import to_plain
from driftmap.stats.honesty_verdict import honesty_cautions, honesty_verdict
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Carried:
    """Steps that the numbers are in."""

    read: StepOutcome
    transfers: StepOutcome
    units: StepOutcome
    steering: StepOutcome


def statistics_step(
    study: Study, plan: Plan, question: Question, carried: Carried
) -> StepOutcome:
    """Write every number, the answer, and what to keep in mind."""

    def make(folder: Path) -> None:
        result = _result(study, plan, question, carried)
        plain = {
            "model": to_plain(study.loaded.identity),
            "result": to_plain(result),
            "verdict": to_plain(honesty_verdict(result)),
            "cautions": to_plain(honesty_cautions(result)),
        }
        save_json(folder / RESULT, plain, RESULT_KIND)

    steps = (carried.read, carried.transfers, carried.units, carried.steering)
    return study.run.step("statistics", {"of": [one.key for one in steps]}, make)


def _result(
    study: Study, plan: Plan, question: Question, carried: Carried
) -> HonestyResult:
    found, steered = load_reading(carried.read), load_steering(carried.steering)
    units = load_units(carried.units)
    said = plan.instructions
    return HonestyResult(
        model=study.loaded.identity.source,
        honest=said.honest,
        dishonest=said.dishonest,
        template=said.template,
        layers=plan.layers,
        method=found.band.method,
        evidence=found.evidence,
        band=found.band,
        transfers=load_transfers(carried.transfers).rows,
        units=units.units,
        steering=steered.points,
        steered_layers=steered.layers,
        counts=HonestyCounts(
            statements={name: len(plan.pairs[name]) for name in HALVES},
            pairs={
                name: sum(len(one.cuts) for one in plan.pairs[name]) for name in HALVES
            },
            false_statements=sum(not one.is_true for one in question.halves["test"]),
            left_out=plan.left_out,
            groups=_groups(question),
            questions=steered.questions,
            units=units.looked_at,
        ),
    )


def _groups(question: Question) -> int:
    """Groups of near-duplicates that hold two statements or more."""
    texts = [one.text for half in question.halves.values() for one in half]
    sizes = Counter(near_duplicates(texts).tolist())
    return sum(size > 1 for size in sizes.values())
