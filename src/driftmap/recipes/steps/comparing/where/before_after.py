"""Where is an answer read before and after tuning, for the old and the new answer?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64

from driftmap.capture.patching.noise import embedding_level
from driftmap.core.progress import progress
from driftmap.load.model import LoadedModel
from driftmap.measure.trace_comparison import likeness, trace_profile
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.where.asking import Asked
from driftmap.recipes.steps.comparing.where.crossing import for_new, for_old, kinds_of
from driftmap.recipes.steps.tracing.one_fact import HowTraced, trace_fact
from driftmap.recipes.steps.tracing.preparing import PreparedFact
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Noise, TraceKind
from driftmap.results.traces import TraceGrid
from driftmap.results.where_it_acts import ProfileShift, TraceChange, WhichAnswer
from driftmap.stats.tracing import role_effects
from driftmap.stats.where import Owners

LEAST_EFFECT = 0.05
"""Total effect from which on a fact has a profile."""

Grids = Sequence[Mapping[TraceKind, TraceGrid]]


def trace_changes(
    pair: Pair, asked: Asked, options: WhereOptions
) -> tuple[tuple[TraceChange, ...], tuple[ProfileShift, ...]]:
    """Trace every fact on both models for both answers, and the base's again.

    Args:
        pair: The two models.
        asked: Facts with both answers.
        options: Draws of noise, and layers that go together.

    Returns:
        Changes by answer and kind, and shifts of profiles by kind; empty where facts
        are of fewer than two subjects.
    """
    if len(set(asked.traced_owners)) < 2:
        return (), ()
    how = _how(pair, asked, options)
    old = [for_old(one) for one in asked.traced]
    new = [for_new(one) for one in asked.traced]
    with progress("trace before and after", 5 * len(old)) as bar:

        def traced(
            loaded: LoadedModel, facts: Sequence[EncodedFact], seed: int
        ) -> Grids:
            found: list[Mapping[TraceKind, TraceGrid]] = []
            drawn = replace(how, noise=replace(how.noise, seed=seed))
            for fact in facts:
                grids = trace_fact(loaded, PreparedFact(encoded=fact), drawn).grids
                found.append({grid.kind: grid for grid in grids})
                bar.advance(1)
            return found

        seed = how.noise.seed
        before = {
            "old": traced(pair.base, old, seed),
            "new": traced(pair.base, new, seed),
        }
        after = {
            "old": traced(pair.tuned, old, seed),
            "new": traced(pair.tuned, new, seed),
        }
        again = traced(pair.base, old, seed + 1)
    answers: tuple[WhichAnswer, ...] = ("old", "new")
    changes = tuple(
        _change(pair, asked, which, kind, before[which], after[which])
        for which in answers
        for kind in how.kinds
    )
    shifts = _shifts(pair, asked, before["old"], after["new"], again)
    return changes, tuple(shifts)


def _how(pair: Pair, asked: Asked, options: WhereOptions) -> HowTraced:
    """The same noise for both models: that of the base's embeddings."""
    subjects = [one.token_ids[slice(*one.subject)].tolist() for one in asked.traced]
    level = embedding_level(pair.base.model, subjects)
    return HowTraced(
        kinds=kinds_of(pair.base.model),
        window=options.window_of(len(pair.base.layout.blocks)),
        outcome="prob",
        noise=Noise(level=level, num_draws=options.num_draws),
        has_control=False,
        traces_unknown=True,
        is_fast=False,
        reads_lens=False,
    )


def _change(
    pair: Pair,
    asked: Asked,
    which: WhichAnswer,
    kind: TraceKind,
    before: Grids,
    after: Grids,
) -> TraceChange:
    first = [_counted(grids[kind]) for grids in before]
    last = [_counted(grids[kind]) for grids in after]
    apart = [_difference(one, other) for one, other in zip(first, last, strict=True)]
    subjects, seed = asked.traced_owners, pair.study.seed
    return TraceChange(
        answer=which,
        before=role_effects(first, subjects, seed),
        after=role_effects(last, subjects, seed),
        difference=role_effects(apart, subjects, seed),
        example_before=first[0],
        example_after=last[0],
    )


def _counted(grid: TraceGrid) -> TraceGrid:
    """With a fact that a model does not know counted as any other."""
    return replace(grid, is_known=None)


def _difference(before: TraceGrid, after: TraceGrid) -> TraceGrid:
    """Effects after less those before, as a grid whose `low` is 0."""
    return replace(
        after,
        score=after.indirect_effect - before.indirect_effect,
        standard_error=np.hypot(after.standard_error, before.standard_error),
        low=0.0,
        high=after.total_effect - before.total_effect,
    )


def _shifts(
    pair: Pair, asked: Asked, before: Grids, after: Grids, again: Grids
) -> Iterator[ProfileShift]:
    """Profiles of what each model says, against the base's own under other noise."""
    for kind in before[0]:
        rows = [
            _profiles(asked, [grids[kind] for grids in side])
            for side in (before, after, again)
        ]
        first, last, other = rows
        moved = _alike(first, last)
        own = _alike(first, other)
        if _num_subjects(asked, moved) < 2:
            continue
        yield _shift(pair, asked, kind, moved, own)


def _shift(
    pair: Pair,
    asked: Asked,
    kind: TraceKind,
    moved: Float64[np.ndarray, " fact"],
    own: Float64[np.ndarray, " fact"],
) -> ProfileShift:
    def mean(values: Float64[np.ndarray, " fact"]) -> Owners:
        there = np.isfinite(values)
        kept = [o for o, t in zip(asked.traced_owners, there, strict=True) if t]
        return Owners.of(kept, pair.study.seed)

    both = own - moved
    has_both = _num_subjects(asked, both) > 1
    return ProfileShift(
        kind=kind,
        likeness=mean(moved).mean(moved[np.isfinite(moved)]),
        ceiling=mean(own).mean(own[np.isfinite(own)]) if has_both else None,
        below_ceiling=mean(both).mean(both[np.isfinite(both)]) if has_both else None,
        num_refused=int((~np.isfinite(moved)).sum()),
    )


def _num_subjects(asked: Asked, values: Float64[np.ndarray, " fact"]) -> int:
    """Subjects of the facts that have a value (count)."""
    there = np.isfinite(values)
    return len({o for o, t in zip(asked.traced_owners, there, strict=True) if t})


def _profiles(
    asked: Asked, grids: Sequence[TraceGrid]
) -> list[Float64[np.ndarray, "role layer"] | None]:
    """The profile at the last subject token; None where the effect is too small."""
    return [
        trace_profile(grid, one.fact, one.fact.subject, one.answer_ids).effect
        if grid.total_effect >= LEAST_EFFECT
        else None
        for grid, one in zip(grids, asked.traced, strict=True)
    ]


def _alike(
    ours: Sequence[Float64[np.ndarray, "role layer"] | None],
    theirs: Sequence[Float64[np.ndarray, "role layer"] | None],
) -> Float64[np.ndarray, " fact"]:
    """Pearson of each fact's two profiles; NaN where one has none or is flat."""
    return np.array(
        [
            np.nan
            if one is None or other is None
            else float(likeness(one[None], other[None])[0, 0])
            for one, other in zip(ours, theirs, strict=True)
        ]
    )
