"""What is said of one set of queries, from its pairs to the last table?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64

from driftmap.results.baselines import Beside
from driftmap.results.retrieval import (
    HeldOut,
    Preselection,
    RetrievalSettings,
    SetStudy,
)
from driftmap.results.retrieval_reading import FULL, Contrast, Reading
from driftmap.results.selection import ProjectionPoint, SelectionPath
from driftmap.stats.retrieval.agreement import spearman
from driftmap.stats.retrieval.auc import auc_parts
from driftmap.stats.retrieval.carried_errors import sketch_errors
from driftmap.stats.retrieval.contrasts import contrasts, corrected
from driftmap.stats.retrieval.energy import energy_shares
from driftmap.stats.retrieval.figures import Figures, figures
from driftmap.stats.retrieval.halves import (
    Halves,
    best_tensor,
    halve,
    read_weightings,
)
from driftmap.stats.retrieval.lineup import Lineup, line_up
from driftmap.stats.retrieval.mistakes import Mistakes, flags, hubs
from driftmap.stats.retrieval.outcomes import observe
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.profiles import odd_queries
from driftmap.stats.retrieval.reading import Evidence, Readings
from driftmap.stats.retrieval.resampling import Resamples, draw_resamples
from driftmap.stats.retrieval.reservations import reservations
from driftmap.stats.retrieval.selection import Selection
from driftmap.stats.retrieval.units import all_units


def study_set(
    pairs: SetPairs,
    truths: Int64[np.ndarray, " class"],
    beside: Beside,
    settings: RetrievalSettings,
    seed: int,
) -> SetStudy:
    """Reduce one set's products to everything that is reported.

    Args:
        pairs: The set.
        truths: Classes of originals that are a truth in any set, each once.
        beside: Baselines, projections, errors, flags.
        settings: What is asked.
        seed: The run's seed.
    """
    halves = halve(pairs, truths, settings, seed)
    evidence = _evidence(pairs, halves, beside, settings, seed)
    lineup, outcomes = evidence.lineup, evidence.outcomes
    readings = Readings(evidence, settings)
    units = readings.of_units()
    chosen = _choose(evidence, halves, beside, settings, seed)
    energy, lists = energy_shares(pairs), _preselection(pairs, beside, settings)
    everything = np.ones(pairs.num_queries, dtype=bool)
    mistakes, rows = _mistakes(evidence, chosen.best, beside)
    return SetStudy(
        name=pairs.name,
        num_queries=pairs.num_queries,
        num_ids=pairs.num_ids,
        num_chosen_on=0 if halves is None else _num_ids(pairs, halves.chosen),
        num_reported_on=0 if halves is None else _num_ids(pairs, halves.reported),
        preselection=lists,
        readings=units,
        best_tensor=chosen.best,
        weightings=read_weightings(lineup, evidence.figures, halves, readings),
        selections=chosen.paths,
        projections=chosen.projections,
        energy=energy,
        size_correlation=_with_size(units),
        odd=odd_queries(lineup, outcomes, settings),
        num_wrong={name: mistakes.num_wrong(name) for name in mistakes.rows},
        wrong=tuple(
            one for name in rows for one in mistakes.wrong(name, settings.shown.wrong)
        ),
        hubs=hubs(pairs, outcomes, settings),
        queries=mistakes.queries(everything if halves is None else halves.reported),
        cautions=reservations(lists, units, energy, chosen.best, pairs.num_ids),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    """What is chosen on one half and reported on the other; nothing without halves."""

    best: HeldOut | None = None
    paths: tuple[SelectionPath, ...] = ()
    projections: tuple[ProjectionPoint, ...] = ()


def _choose(
    evidence: Evidence,
    halves: Halves | None,
    beside: Beside,
    settings: RetrievalSettings,
    seed: int,
) -> _Chosen:
    if halves is None:
        return _Chosen()
    lineup = evidence.lineup
    selection = Selection(lineup.scorer.pairs, halves, settings, seed)
    return _Chosen(
        best=best_tensor(lineup, evidence.figures, halves, settings),
        paths=(selection.path("agreement"), selection.path("accuracy")),
        projections=selection.projections(beside.projections),
    )


def _evidence(
    pairs: SetPairs,
    halves: Halves | None,
    beside: Beside,
    settings: RetrievalSettings,
    seed: int,
) -> Evidence:
    chosen = None if halves is None else halves.chosen
    lineup = line_up(pairs, all_units(pairs.products.tensors), beside.baselines, chosen)
    scored = [b.scores[pairs.rows] for b in lineup.scored if b.scores is not None]
    outcomes = observe(lineup.scorer, scored, lineup.full, settings)
    found = figures(pairs, outcomes, lineup.ranked, settings)
    resamples = draw_resamples(pairs.ids, settings.num_resamples, settings.level, seed)
    names = [pairs.products.queries[row] for row in pairs.rows.tolist()]
    error = beside.dot_error
    return Evidence(
        lineup=lineup,
        outcomes=outcomes,
        figures=found,
        auc=auc_parts(lineup.scorer, scored, outcomes.truth)
        if pairs.is_all_pairs
        else None,
        resamples=resamples,
        unflagged=np.array([not beside.flags.get(name) for name in names]),
        sketch=() if error is None else sketch_errors(lineup.scorer, error),
        contrasts=_contrasts(lineup, found, resamples),
    )


def _contrasts(
    lineup: Lineup, found: Figures, resamples: Resamples
) -> tuple[tuple[Contrast, ...], ...]:
    """Every row against full and each baseline, corrected over the tensors."""
    per_row: list[list[Contrast]] = [[] for _ in found.hit]
    for name, other in [(FULL, lineup.full), *lineup.baselines]:
        tests = contrasts(found.hit, found.hit[other], name, resamples)
        of_tensors = [row for row in lineup.tensors if row != other]
        settled = dict(enumerate(tests))
        adjusted = corrected([tests[row] for row in of_tensors])
        settled.update(zip(of_tensors, adjusted, strict=True))
        for row, contrast in settled.items():
            if row != other:
                per_row[row].append(contrast)
    return tuple(tuple(row) for row in per_row)


def _mistakes(
    evidence: Evidence, best: HeldOut | None, beside: Beside
) -> tuple[Mistakes, list[str]]:
    """Look up full, the best tensor and baselines; the first two list what is wrong."""
    lineup = evidence.lineup
    rows = {FULL: lineup.full}
    if best is not None:
        rows |= {u.name: row for u, row in lineup.units if u == best.unit}
    mistakes = Mistakes(
        scorer=lineup.scorer,
        outcomes=evidence.outcomes,
        figures=evidence.figures,
        rows={**rows, **dict(lineup.baselines)},
        flags=flags(lineup.scorer.pairs, beside),
    )
    return mistakes, list(rows)


def _preselection(
    pairs: SetPairs, beside: Beside, settings: RetrievalSettings
) -> Preselection:
    num, right = pairs.num_candidates, pairs.num_right
    names = [pairs.products.queries[row] for row in pairs.rows.tolist()]
    known = None if beside.forced is None else frozenset(beside.forced)
    forced = tuple(name for name in names if name in (known or ()))
    missing = tuple(n for n, has in zip(names, right > 0, strict=True) if not has)
    least, most = int(num.min()), int(num.max())
    title = f"1 of {most}" if least == most else f"1 of {least} to {most}"
    if settings.forced:
        title += ", truth always present"
    elif not pairs.is_all_pairs:
        title += ", where found"
    found = None if settings.forced and known is None else len(missing) + len(forced)
    return Preselection(
        is_all_pairs=pairs.is_all_pairs,
        num_least=least,
        num_most=most,
        title=title,
        recall=None if found is None else 1 - found / len(names),
        missing=missing,
        forced=forced,
    )


def _num_ids(pairs: SetPairs, of: Bool[np.ndarray, " query"]) -> int:
    return int(np.unique(pairs.ids[of]).size)


def _with_size(readings: Sequence[Reading]) -> float | None:
    """Spearman correlation of weights and accuracy over tensors."""
    tensors = [r for r in readings if r.unit.kind == "tensor"]
    known = [r for r in tensors if r.unit.num_weights is not None]
    sizes = [r.unit.num_weights for r in known]
    reached = [r.accuracy.value.estimate for r in known]
    if len(known) < len(tensors) or len(set(sizes)) < 2 or len(set(reached)) < 2:
        return None
    (found,) = spearman(np.array([sizes], dtype=float), np.array(reached))
    return float(found)
