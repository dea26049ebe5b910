"""Is the drift of the behaviour's weights more than chance gives, and what follows?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from driftmap.core.places import Site
from driftmap.core.progress import progress
from driftmap.core.shortage import explained
from driftmap.families.matrices import effective_weight, site_weight
from driftmap.measure.drift import dense_change
from driftmap.recipes.options import TestingOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.cards import STATISTICS_KIND
from driftmap.recipes.steps.inference.cautioning import (
    ChangeCount,
    read_cautions,
    study_cautions,
)
from driftmap.recipes.steps.inference.effects import Changes, study_effects
from driftmap.recipes.steps.needs.remedies import FOR_STATISTICS
from driftmap.recipes.steps.tuning.checkpoints import changes_at
from driftmap.recipes.steps.tuning.freezing import Kept
from driftmap.recipes.steps.tuning.training import checkpoint_folders
from driftmap.results.evidence import MatrixEvidence
from driftmap.results.groups import WeightGroup
from driftmap.results.plain import to_plain
from driftmap.results.statistics import (
    BehaviourChange,
    Caution,
    DriftStatistics,
    GroupRatio,
    Verdict,
)
from driftmap.results.table import Table
from driftmap.stats.cautions import applying, kept_weights, trial_run
from driftmap.stats.equivalence import equivalence
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from driftmap.stats.kept import has_ratio, kept_share, undecided
from driftmap.stats.many_tests import adjust, needed_permutations
from driftmap.stats.ratios import group_ratios
from driftmap.stats.verdict import decide
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table

LEAST_PERMUTATIONS = 999
"""Draws of the declared test, however few tests stand beside it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Findings:
    """What inference starts from.

    Args:
        groups: All groups, the declared one first.
        tuned: Steps of the training runs.
        drift: The step that wrote the drift table.
        behaviours: What tuning did to the model, the declared outcome first.
        num_shared: Evaluated rows that were scored or tuned on too.
        agreement: What halves of the samples agree on, by group.
        kept: What could not move.
        is_trial: Whether samples and steps were capped.
    """

    groups: Sequence[WeightGroup]
    tuned: Sequence[StepOutcome]
    drift: StepOutcome
    behaviours: tuple[BehaviourChange, ...]
    num_shared: int
    agreement: Table
    kept: Kept
    is_trial: bool


def statistics_step(
    study: Study, findings: Findings, testing: TestingOptions
) -> StepOutcome:
    """Test, estimate and decide at the last step; write `statistics.json`.

    Earlier steps are description only: the drift table and the curves hold them.
    """

    def make(folder: Path) -> None:
        with explained("the statistics", FOR_STATISTICS):
            statistics = _statistics(study, findings, testing)
        save_json(folder / "statistics.json", statistics, STATISTICS_KIND)

    inputs = {
        "drift": findings.drift.key,
        "behaviours": to_plain(findings.behaviours),
        "num_shared": findings.num_shared,
        **findings.kept.inputs(),
        "is_trial": findings.is_trial,
        "margin": testing.margin,
        "permutations": testing.permutations,
        "seed": study.seed,
    }
    return study.run.step("statistics", inputs, make)


def _statistics(
    study: Study, findings: Findings, testing: TestingOptions
) -> DriftStatistics:
    folders = [checkpoint_folders(s, n) for n, s in enumerate(findings.tuned)]
    step = max(folders[0])
    read = [changes_at(study, of_run, step) for of_run in folders]
    changes = [of_run.by_site for of_run in read]
    counted = ChangeCount()
    evidence = _evidence(study, findings, (changes, counted), testing)
    ratios = _ratios(study, findings, evidence)
    moving = [findings.kept.moving_part(group) for group in findings.groups]
    cautions = (
        *applying([trial_run(findings.is_trial)]),
        *read_cautions(study, read, counted),
        *applying(
            kept_weights(g.name, kept_share(evidence, g.name), findings.kept.way)
            for g in moving
        ),
        *study_cautions(
            study, moving, evidence, ratios, findings.num_shared, findings.agreement
        ),
    )
    drift = load_table(findings.drift.path("tables/drift.parquet")).where(step=step)
    return DriftStatistics(
        step=step,
        num_seeds=len(changes),
        ratios=ratios,
        effects=study_effects(
            moving, changes, partial(site_weight, study.loaded.model), drift
        ),
        equivalences=tuple(
            equivalence(ratio, testing.margin)
            for ratio in ratios
            if ratio.layer is None and ratio.part is None
        ),
        behaviours=findings.behaviours,
        cautions=cautions,
        verdict=_verdict(findings, ratios, cautions, testing.margin),
    )


def _ratios(
    study: Study, findings: Findings, evidence: Sequence[MatrixEvidence]
) -> tuple[GroupRatio, ...]:
    declared = findings.groups[0].name
    is_held = kept_share(evidence, declared) > 0 and not has_ratio(evidence, declared)
    primary = None if is_held else declared
    return adjust(
        group_ratios(evidence, primary=primary, seed=study.seed),
        controls=_controls(findings.groups),
    )


def _verdict(
    findings: Findings,
    ratios: Sequence[GroupRatio],
    cautions: Sequence[Caution],
    margin: float,
) -> Verdict:
    primary = next((ratio for ratio in ratios if ratio.is_primary), None)
    if primary is None:
        return undecided(findings.groups[0].name, findings.behaviours[0], margin)
    return decide(primary, findings.behaviours[0], cautions, margin)


def _evidence(
    study: Study,
    findings: Findings,
    moved: tuple[Changes, ChangeCount],
    testing: TestingOptions,
) -> list[MatrixEvidence]:
    """Compare groups matrix by matrix: one is in memory, under one seed at a time."""
    groups = findings.groups
    sites = [s for s in study.loaded.layout.sites if any(g.at(s).size for g in groups)]
    plan = DrawPlan(
        seed=study.seed,
        num_permutations=_num_permutations(testing, groups, sites),
        controls=_controls(groups),
    )
    found = []
    with progress("permutations", len(sites)) as bar:
        for site in sites:
            sizes = effective_weight(study.loaded.model, site).abs().cpu().numpy()
            members = {group.name: group.at(site) for group in groups}
            drifts = _drifts(study, (site, sizes), *moved)
            free = findings.kept.mobile(site)
            found.append(matrix_evidence(site, sizes, drifts, members, plan, free))
            bar.advance()
    return found


def _drifts(
    study: Study,
    before: tuple[Site, Float32[np.ndarray, "row column"]],
    changes: Changes,
    counted: ChangeCount,
) -> Iterator[Float64[np.ndarray, "row column"]]:
    site, sizes = before
    for of_seed in changes:
        if site in of_seed:
            weight = site_weight(study.loaded.model, site)
            moved = dense_change(of_seed[site], weight=weight).abs().numpy()
            counted.add(sizes, moved)
            yield moved
        else:
            yield np.zeros(site.shape)


def _controls(groups: Sequence[WeightGroup]) -> set[str]:
    return {group.name for group in groups if group.is_control}


def _num_permutations(
    testing: TestingOptions, groups: Sequence[WeightGroup], sites: Sequence[Site]
) -> int:
    if testing.permutations is not None:
        return testing.permutations
    layers, parts = {s.layer for s in sites}, {s.part for s in sites}
    num_declared = len(groups) - len(_controls(groups))
    num_tests = num_declared * (1 + len(layers) + len(parts)) - 1
    return max(LEAST_PERMUTATIONS, needed_permutations(num_tests))
