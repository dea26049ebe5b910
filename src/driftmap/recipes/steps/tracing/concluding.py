"""What do all traces say together?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.tracing.preparing import Prepared
from driftmap.recipes.steps.tracing.reporting import (
    FINDINGS,
    FINDINGS_KIND,
)
from driftmap.recipes.trace_options import FactOptions, StateOptions
from driftmap.results.fact_traces import FactTrace, FactTraces
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import TraceKind
from driftmap.results.trace_study import (
    EstimateCheck,
    FactCounts,
    FactOutcome,
    LensLayer,
    TracedFact,
    TraceFindings,
)
from driftmap.results.traces import RoleEffects, TraceGrid
from driftmap.stats.trace_cautions import trace_cautions
from driftmap.stats.trace_verdict import trace_verdict
from driftmap.stats.tracing import role_effects, screen_agreement, subject_mean
from driftmap.store.arrays_apart import save_apart
from driftmap.store.steps import StepOutcome
from driftmap.store.trace_tables import save_trace_tables


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class About:
    """What was asked, for whoever sums up.

    Args:
        prepared: The facts, and those that were left out.
        num_read: Facts that were to be traced (count).
        facts: Which facts.
        states: What was put back.
    """

    prepared: Prepared
    num_read: int
    facts: FactOptions
    states: StateOptions


def conclude(
    study: Study, traced: StepOutcome, found: FactTraces, about: About
) -> Path:
    """Write findings, tables and report.

    Args:
        study: Folder, model and seed.
        traced: The step that traced.
        found: What it wrote.
        about: What was asked.

    Returns:
        The report.
    """
    findings = findings_of(study, found, about)

    def make(folder: Path) -> None:
        save_apart(folder, FINDINGS, findings, FINDINGS_KIND)
        save_trace_tables(folder, found.traces, findings.effects)

    inputs = {
        "of": traced.key,
        "seed": study.seed,
        "pooled": about.states.pooled,
        "show": about.states.show,
        "left_out": dict(about.prepared.left_out),
        "num_read": about.num_read,
        "noise_source": about.prepared.noise_source,
        "model": asdict(study.loaded.identity),
    }
    study.run.step("findings", inputs, make)
    return report_step(study.run).path(REPORT)


def findings_of(study: Study, found: FactTraces, about: About) -> TraceFindings:
    """Average, count and judge.

    Args:
        study: Model and seed.
        found: All facts, traced.
        about: What was asked.
    """
    counts = _counts(found.traces, about)
    effects = _effects(found.traces, study.seed, about, counts)
    shown = _shown(found.traces, about.states.show)
    checks = _checks(found.traces, study.seed)
    outcome = found.outcome
    return TraceFindings(
        model=study.loaded.identity,
        num_layers=len(study.loaded.layout.blocks),
        counts=counts,
        outcome=outcome,
        noise=found.noise,
        noise_source=about.prepared.noise_source,
        verdict=trace_verdict(counts, effects, shown, outcome),
        cautions=trace_cautions(counts, effects, checks, outcome),
        effects=effects,
        facts=tuple(map(_outcome, found.traces)),
        shown=shown,
        lens=_lens(found.traces, study.seed),
        checks=checks,
        answer_source="given" if _has_answers(found.traces) else "top1",
    )


def _has_answers(traces: Sequence[FactTrace]) -> bool:
    return any(one.is_known is not None for one in traces)


def _averaged(traces: Sequence[FactTrace]) -> list[FactTrace]:
    """Facts that count in averages."""
    return [one for one in traces if one.is_traced and one.is_known is not False]


def _counts(traces: Sequence[FactTrace], about: About) -> FactCounts:
    averaged = _averaged(traces)
    num_unknown = sum(one.is_known is False for one in traces)
    return FactCounts(
        num_read=about.num_read,
        num_known=len(traces) - num_unknown,
        num_unknown=num_unknown,
        num_averaged=len(averaged),
        num_subjects=len({one.subject for one in averaged}),
        num_one_token=sum(
            one.grids[0].subject[1] - one.grids[0].subject[0] == 1 for one in averaged
        ),
        left_out=about.prepared.left_out,
    )


def _effects(
    traces: Sequence[FactTrace], seed: int, about: About, counts: FactCounts
) -> tuple[RoleEffects, ...]:
    """Averages by role; none where fewer than two subjects are left."""
    averaged = _averaged(traces)
    if counts.num_subjects < 2:
        return ()
    subjects = [one.subject for one in averaged]
    control = [one.control for one in averaged]
    has_control = any(value is not None for value in control)
    kinds: list[TraceKind] = [grid.kind for grid in averaged[0].grids]
    return tuple(
        replace(
            role_effects(
                [_grid(one, kind) for one in averaged],
                subjects,
                seed,
                control=control if has_control else None,
                pooled=about.states.pooled,
            ),
            num_unknown=counts.num_unknown,
        )
        for kind in kinds
    )


def _grid(trace: FactTrace, kind: TraceKind) -> TraceGrid:
    grid = trace.of_kind(kind)
    assert grid is not None, f"{trace.fact_id} has no {kind}"
    return grid


def _outcome(trace: FactTrace) -> FactOutcome:
    layer, effect = None, None
    hidden = trace.of_kind("hidden")
    if hidden is not None:
        row = hidden.indirect_effect[hidden.subject[1] - 1]
        layer = int(row.argmax())
        effect = float(row[layer])
    return FactOutcome(
        id=trace.fact_id,
        subject=trace.subject,
        answer=trace.answer,
        choice=trace.choice,
        high=trace.high,
        low=trace.low,
        is_known=trace.is_known,
        peak_layer=layer,
        peak_effect=effect,
        control=trace.control,
    )


def _shown(traces: Sequence[FactTrace], most: int) -> tuple[TracedFact, ...]:
    """The first facts that count; where none does, the first that were traced."""
    chosen = _averaged(traces) or [one for one in traces if one.is_traced]
    return tuple(
        TracedFact(
            id=one.fact_id,
            prompt=one.prompt,
            subject=one.subject,
            grids=one.grids,
            lens=one.lens if one.lens and len(one.lens.tokens) > 1 else None,
            places=one.places,
        )
        for one in chosen[:most]
    )


def _checks(traces: Sequence[FactTrace], seed: int) -> tuple[EstimateCheck, ...]:
    """Estimates beside exact grids; none where fewer than two subjects have both."""
    both = [one for one in _averaged(traces) if one.exact]
    if len({one.subject for one in both}) < 2:
        return ()
    subjects = [one.subject for one in both]
    kinds: list[TraceKind] = [grid.kind for grid in both[0].exact]
    return tuple(
        screen_agreement(
            [
                (_grid(one, kind), next(g for g in one.exact if g.kind == kind))
                for one in both
            ],
            subjects,
            seed,
        )
        for kind in kinds
    )


def _lens(traces: Sequence[FactTrace], seed: int) -> tuple[LensLayer, ...]:
    """What the head reads at the last token, by layer."""
    read = [(one, one.lens) for one in _averaged(traces) if one.lens is not None]
    subjects = [one.subject for one, _ in read]
    if len(set(subjects)) < 2:
        return ()
    p = np.array([lens.probability[-1] for _, lens in read])
    first = np.array([lens.rank[-1] == 0 for _, lens in read], float)
    foils = [lens.foil_probability for _, lens in read]
    foil = None
    if all(one is not None for one in foils):
        foil = np.array([one[-1] for one in foils if one is not None])

    def mean(values: np.ndarray, layer: int) -> Interval:
        return subject_mean(values[:, layer], subjects, seed)

    return tuple(
        LensLayer(
            layer=layer,
            probability=mean(p, layer),
            first_choice=mean(first, layer),
            foil_probability=None if foil is None else mean(foil, layer),
        )
        for layer in range(p.shape[1])
    )
