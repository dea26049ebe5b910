"""What do readings, overlaps and counts of a finished experiment say together?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from driftmap.measure.select.overlap import POOLED
from driftmap.recipes.freezing_options import FreezePlan
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.freezing.chosen import load_chosen
from driftmap.recipes.steps.freezing.contrasting import (
    accuracies_before,
    contrasts_of,
    curve_of,
    examples_of,
    lost_of,
)
from driftmap.recipes.steps.freezing.files import (
    CURVE,
    EXAMPLES,
    FREEZE_KIND,
    OVERLAP,
    STATISTICS_FILE,
)
from driftmap.recipes.steps.freezing.parts import Freezable
from driftmap.recipes.steps.freezing.reading import all_readings
from driftmap.recipes.steps.freezing.tuning import Tuned
from driftmap.recipes.steps.groups.cards import group_cards
from driftmap.recipes.steps.tuning.training import mobile_sites
from driftmap.results.freeze_study import (
    LOG_ODDS,
    REFUSAL,
    ArmKind,
    FreezeStatistics,
    FrozenGroupCard,
    FrozenPart,
    OverlapReading,
)
from driftmap.results.plain import to_plain
from driftmap.results.table import Table
from driftmap.stats.freeze_cautions import FreezeFindings, freeze_cautions
from driftmap.stats.freeze_overlaps import overlap_reading
from driftmap.stats.freeze_verdict import freeze_verdict
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

_KINDS: tuple[ArmKind, ...] = ("free", "group", "matched")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finished:
    """All steps of an experiment.

    Args:
        groups: The step that chose the groups.
        freezable: The frozen group and its controls.
        base: The step that read the model before tuning.
        tuned: Every training run.
        read: What each of them does.
        rescored: Groups chosen again after some of them.
    """

    groups: StepOutcome
    freezable: Freezable
    base: StepOutcome
    tuned: Sequence[Tuned]
    read: Sequence[StepOutcome]
    rescored: Sequence[StepOutcome]


def conclude_step(
    study: Study, done: Finished, plan: FreezePlan, num_shared: int
) -> StepOutcome:
    """Write `tables/curve.parquet`, `tables/overlap.parquet` and `statistics.json`.

    Args:
        study: Folder and seed.
        done: All steps.
        plan: What was declared.
        num_shared: Rows that are asked and scored, or learnt, as well.
    """
    declared = plan.freezing.declared_share

    def make(folder: Path) -> None:
        readings = all_readings(done.base, done.read)
        save_table(folder / CURVE, curve_of(readings, study.seed))
        save_table(folder / EXAMPLES, examples_of(readings, declared))
        if done.rescored:
            save_table(folder / OVERLAP, _overlaps(done.rescored))
        found = _statistics(study, done, plan, readings, num_shared)
        save_json(folder / STATISTICS_FILE, to_plain(found), FREEZE_KIND)

    steps = [done.base, *done.read, *done.rescored]
    inputs = {
        "of": [step.key for step in steps],
        "declared": declared,
        "margin": plan.comparing.margin,
        "shared": num_shared,
        "trial": plan.is_trial,
        "seed": study.seed,
    }
    return study.run.step("statistics", inputs, make)


def _statistics(
    study: Study, done: Finished, plan: FreezePlan, readings: Table, num_shared: int
) -> FreezeStatistics:
    declared, margin = plan.freezing.declared_share, plan.comparing.margin
    lost = lost_of(readings, REFUSAL, study.seed)
    odds = lost_of(readings, LOG_ODDS, study.seed)
    assert lost is not None, "refusal is always read"
    contrasts = contrasts_of(readings, declared, study.seed)
    findings = FreezeFindings(
        group=_card(study, done, plan),
        frozen=_parts(done.tuned),
        contrasts=contrasts,
        overlaps=_readings_of_overlaps(done.rescored),
        before=accuracies_before(readings, study.seed),
        num_shared=num_shared,
        is_trial=plan.is_trial,
        is_four_bit=plan.tuning.is_four_bit,
    )
    return FreezeStatistics(
        group=findings.group,
        declared_share=declared,
        margin=margin,
        num_seeds=plan.comparing.seeds,
        lost=lost.change,
        lost_odds=None if odds is None else odds.change,
        before=lost.before,
        free=lost.after,
        frozen=tuple(findings.frozen),
        contrasts=contrasts,
        overlaps=tuple(findings.overlaps),
        cautions=freeze_cautions(findings),
        verdict=freeze_verdict(
            contrasts,
            lost.change,
            margin,
            lost_odds=None if odds is None else odds.change,
            is_trial=plan.is_trial,
        ),
    )


def _card(study: Study, done: Finished, plan: FreezePlan) -> FrozenGroupCard:
    group, num_scored = done.freezable.group, study.loaded.identity.num_weights
    tuned = mobile_sites(study, plan.tuning)
    chosen = load_chosen(done.groups, group.name)
    cards = group_cards(chosen, num_scored, Table(columns={}))
    num_mobile = sum(group.at(site).size for site in tuned)
    sizes = [
        done.freezable.control(number).num_weights
        for number in range(plan.comparing.seeds)
    ]
    return FrozenGroupCard(
        name=group.name,
        num_weights=group.num_weights,
        share=group.num_weights / num_scored,
        chosen=cards[0].chosen,
        way=plan.freezing.freeze_by,
        num_mobile=num_mobile,
        num_tuned=sum(site.num_weights for site in tuned),
        num_short=num_mobile - min(sizes),
    )


def _parts(tuned: Sequence[Tuned]) -> list[FrozenPart]:
    """Means over training seeds, by share and kind."""
    table = Table.joined([one.frozen_part() for one in tuned])
    return [
        FrozenPart(
            kind=kind,
            share=share,
            num_frozen=float(rows["num_frozen"].mean()),
            num_mobile=float(rows["num_mobile"].mean()),
            num_blocked=float(rows["num_blocked"].mean()),
        )
        for kind, share, rows in _by_kind_and_share(table)
        if kind != "free"
    ]


def _overlaps(rescored: Sequence[StepOutcome]) -> Table:
    return Table.joined(
        [
            load_table(step.path(name))
            for step in rescored
            for name in step.files
            if name.startswith("tables/overlaps/")
        ]
    )


def _readings_of_overlaps(rescored: Sequence[StepOutcome]) -> list[OverlapReading]:
    if not rescored:
        return []
    table = _overlaps(rescored).where(matrix=POOLED)
    return [
        overlap_reading(kind, share, rows)
        for kind, share, rows in _by_kind_and_share(table)
    ]


def _by_kind_and_share(table: Table) -> list[tuple[ArmKind, float, Table]]:
    return [
        (kind, share, table.where(kind=kind, share=share))
        for kind in _KINDS
        for share in np.unique(table.where(kind=kind)["share"]).tolist()
    ]
