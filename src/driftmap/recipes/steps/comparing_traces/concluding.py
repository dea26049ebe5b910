"""What do all pairs of prompts say together?"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from driftmap.measure.trace_comparison import (
    across_noise,
    compare_traces,
    likeness_to_itself,
)
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing_traces.reporting import (
    FINDINGS,
    FINDINGS_KIND,
)
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.tracing.preparing import Prepared, PreparedFact
from driftmap.recipes.trace_compare_options import CompareOptions
from driftmap.results.fact_traces import FactTrace, FactTraces
from driftmap.results.trace_comparison import (
    KindComparison,
    ProfileComparison,
    TraceComparison,
)
from driftmap.results.trace_kinds import TraceKind
from driftmap.stats.profile_verdict import adjusted, comparison_cautions, findings
from driftmap.stats.profiles import (
    Chance,
    ceiling,
    class_contrasts,
    class_likeness,
    measure_areas,
)
from driftmap.store.arrays_apart import save_apart


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Traced:
    """All prompts, traced.

    Args:
        prepared: The prompts as tokens.
        first: Their traces.
        again: The same under other seeds of the noise.
        keys: Of the steps that traced.
        name: Of the file, or what was given.
    """

    prepared: Prepared
    first: FactTraces
    again: tuple[FactTraces, ...]
    keys: tuple[str, ...]
    name: str


def conclude(study: Study, traced: Traced, options: CompareOptions) -> Path:
    """Compare, and write findings and report.

    Returns:
        The report.

    Raises:
        MeasureError: No prompt has a profile.
    """

    def make(folder: Path) -> None:
        compared = comparison_of(study, traced, options)
        save_apart(folder, FINDINGS, compared, FINDINGS_KIND)

    inputs = {"of": list(traced.keys), "seed": study.seed, "options": asdict(options)}
    study.run.step("findings", inputs, make)
    return report_step(study.run).path(REPORT)


def comparison_of(
    study: Study, traced: Traced, options: CompareOptions
) -> TraceComparison:
    """Compare prompts by every kind of state.

    Args:
        study: The model and the seed.
        traced: The prompts.
        options: What is compared.
    """
    chance = Chance(
        seed=study.seed,
        num_permutations=options.permutations,
        num_resamples=options.resamples,
    )
    kinds = [_of_kind(study, traced, kind, options, chance) for kind in options.wanted]
    contrasts = adjusted([one.contrasts for one in kinds])
    kinds = [replace(k, contrasts=c) for k, c in zip(kinds, contrasts, strict=True)]
    encoded = [one.encoded.fact for one in traced.prepared.facts]
    return TraceComparison(
        model=study.loaded.identity,
        facts=traced.name,
        num_prompts=len(encoded),
        num_facts=len({fact.said for fact in encoded}),
        num_left_out=sum(traced.prepared.left_out.values()),
        outcome=traced.first.outcome,
        noise=traced.first.noise,
        noise_source=traced.prepared.noise_source,
        row=options.profile_row,
        min_total_effect=options.min_total_effect,
        kinds=tuple(kinds),
        findings=findings(kinds[0].contrasts),
        cautions=comparison_cautions(kinds),
    )


def _of_kind(
    study: Study,
    traced: Traced,
    kind: TraceKind,
    options: CompareOptions,
    chance: Chance,
) -> KindComparison:
    compared = _compared(study, traced, traced.first, kind, options)
    again = [_compared(study, traced, f, kind, options) for f in traced.again]
    own = None
    if again:
        own = np.stack([likeness_to_itself(compared, other) for other in again])
        compared = across_noise(compared, again)
    return KindComparison(
        comparison=compared,
        likeness=class_likeness(compared),
        contrasts=class_contrasts(compared, chance, own),
        ceiling=ceiling(own),
        areas=measure_areas(compared),
    )


def _compared(
    study: Study,
    traced: Traced,
    found: FactTraces,
    kind: TraceKind,
    options: CompareOptions,
) -> ProfileComparison:
    """Compare the prompts that were traced; the others are unknown to the model."""
    sides = [
        (grid, one)
        for trace, one in zip(found.traces, traced.prepared.facts, strict=True)
        if (grid := trace.of_kind(kind)) is not None
    ]
    return compare_traces(
        [grid for grid, _ in sides],
        [one.encoded.fact for _, one in sides],
        [_answer_ids(study, one, grid.answer) for grid, one in sides],
        row=options.profile_row,
        min_total_effect=options.min_total_effect,
        num_unknown=_num_unknown(found.traces),
    )


def _num_unknown(traces: tuple[FactTrace, ...]) -> int:
    return sum(not trace.is_traced for trace in traces)


def _answer_ids(study: Study, one: PreparedFact, answer: str) -> tuple[int, ...]:
    """Tokens of the answer: the given one's, or those of the model's own choice."""
    if one.encoded.answer_ids:
        return one.encoded.answer_ids
    tokenizer = study.loaded.tokenizer
    return tuple(tokenizer(answer, add_special_tokens=False)["input_ids"])
