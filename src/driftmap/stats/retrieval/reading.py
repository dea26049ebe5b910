"""What does each unit reach on one set, all its figures together?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.results.retrieval import RetrievalSettings
from driftmap.results.retrieval_reading import (
    Agreement,
    Closeness,
    Contrast,
    Reading,
    Recall,
    Score,
    SketchError,
    TensorMeans,
    Unit,
)
from driftmap.results.statistics import Interval
from driftmap.stats.retrieval.figures import Figures, scores
from driftmap.stats.retrieval.lineup import Lineup
from driftmap.stats.retrieval.outcomes import Outcomes
from driftmap.stats.retrieval.resampling import Resamples

PerQuery = Float64[np.ndarray, "row query"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """Everything that a set's readings are made of.

    Args:
        lineup: Which row is which.
        outcomes: Of cosines and scored baselines.
        figures: Of these and ranked baselines.
        auc: One number per row and query; None outside the all-pairs view.
        resamples: Of the set's ids.
        unflagged: Queries without a flag.
        sketch: Error of each row's cosines; empty for exact products.
        contrasts: Of each row.
    """

    lineup: Lineup
    outcomes: Outcomes
    figures: Figures
    auc: PerQuery | None
    resamples: Resamples
    unflagged: Bool[np.ndarray, " query"]
    sketch: tuple[SketchError | None, ...]
    contrasts: tuple[tuple[Contrast, ...], ...]


class Readings:
    """Reads rows; intervals of all rows are made at once.

    Args:
        evidence: Of one set.
        settings: Which recalls were asked.
    """

    def __init__(self, evidence: Evidence, settings: RetrievalSettings) -> None:
        figures, resamples = evidence.figures, evidence.resamples
        self._evidence, self._settings = evidence, settings
        rows = range(len(figures.hit))
        chances = [figures.chance_of(row) for row in rows]
        first = [c.accuracy for c in chances]
        self._accuracy = scores(resamples, figures.hit, first)
        self._reciprocal = scores(
            resamples, figures.reciprocal, [c.reciprocal_rank for c in chances]
        )
        self._recall = [
            scores(resamples, block, [c.recall[k] for c in chances])
            for k, block in enumerate(figures.recall)
        ]
        self._margin = resamples.intervals(figures.margin)
        self._unflagged = self._without_flagged(first)
        self._auc = self._areas()
        match, background = evidence.outcomes.match, evidence.outcomes.background
        self._closeness = list(
            zip(
                resamples.intervals(match),
                resamples.intervals(background),
                resamples.intervals(match - background),
                strict=True,
            )
        )

    def of_units(self) -> tuple[Reading, ...]:
        """Read units of tensors, then baselines."""
        lineup = self._evidence.lineup
        found = [self.read(unit, row) for unit, row in lineup.units]
        by_name = {r.unit.name: r for r in found if r.unit.kind == "tensor"}
        names = [t.name for t in lineup.scorer.pairs.products.tensors]
        found = [self._with_means(r, [by_name[n] for n in names]) for r in found]
        for name, row in lineup.baselines:
            found.append(self.read(Unit(kind="baseline", name=name), row))
        return tuple(found)

    def read(self, unit: Unit, row: int) -> Reading:
        """Read one row.

        Args:
            unit: What it is.
            row: Its number.
        """
        evidence = self._evidence
        is_cosine = row < evidence.lineup.scorer.num_rows
        recall = zip(self._settings.recall_at, self._recall, strict=True)
        return Reading(
            unit=unit,
            num_queries=evidence.figures.hit.shape[1],
            accuracy=self._accuracy[row],
            reciprocal_rank=self._reciprocal[row],
            recall=tuple(Recall(k=k, score=found[row]) for k, found in recall),
            median_rank=_median(evidence.figures.rank[row]),
            margin=self._margin[row],
            auc=self._auc[row],
            closeness=self._close(row) if is_cosine else None,
            num_without_direction=self._silent(row) if is_cosine else 0,
            agreement=self._agree(row) if is_cosine else None,
            unflagged=self._unflagged[row] if self._unflagged else None,
            contrasts=evidence.contrasts[row],
            sketch=evidence.sketch[row] if is_cosine and evidence.sketch else None,
        )

    def _without_flagged(
        self, expected: Sequence[Float64[np.ndarray, " query"]]
    ) -> tuple[Score, ...]:
        keep = self._evidence.unflagged
        if keep.all() or not keep.any():
            return ()
        return scores(
            self._evidence.resamples, self._evidence.figures.hit, expected, keep
        )

    def _areas(self) -> list[Score | None]:
        parts = self._evidence.auc
        num_rows = len(self._evidence.figures.hit)
        if parts is None:
            return [None] * num_rows
        half = [np.full(parts.shape[1], 0.5)] * len(parts)
        found: list[Score | None] = [*scores(self._evidence.resamples, parts, half)]
        return found + [None] * (num_rows - len(parts))

    def _close(self, row: int) -> Closeness:
        match, background, gap = self._closeness[row]
        sd = float(self._evidence.outcomes.background_sd[row])
        return Closeness(
            match=match,
            background=background,
            gap=gap,
            gap_in_sd=gap.estimate / sd if gap is not None and sd > 0 else None,
        )

    def _silent(self, row: int) -> int:
        return int((~self._evidence.outcomes.directed[row]).sum())

    def _agree(self, row: int) -> Agreement | None:
        if row == self._evidence.lineup.full:
            return None
        found = self._evidence.outcomes.agreement
        return Agreement(
            cosine=_known(found.cosine[row]), spearman=_known(found.spearman[row])
        )

    def _with_means(self, reading: Reading, tensors: Sequence[Reading]) -> Reading:
        weights = self._evidence.lineup.scorer.weights
        rows = dict(self._rows())
        if reading.unit.num_tensors < 2:
            return reading
        columns = np.flatnonzero(weights[:, rows[reading.unit.name]])
        inside = [tensors[n] for n in columns.tolist()]
        matches = [_match(r) for r in inside]
        known = [m.estimate for m in matches if m is not None]
        means = TensorMeans(
            accuracy=float(np.mean([r.accuracy.value.estimate for r in inside])),
            match=float(np.mean(known)) if known else None,
        )
        return replace(reading, tensor_means=means)

    def _rows(self) -> list[tuple[str, int]]:
        units = self._evidence.lineup.units
        return [(u.name, row) for u, row in units if u.kind != "tensor"]


def _match(reading: Reading) -> Interval | None:
    return None if reading.closeness is None else reading.closeness.match


def _median(ranks: Float64[np.ndarray, " query"]) -> float | None:
    """Median of all; a truth that is no candidate ranks below every other."""
    middle = float(np.median(np.where(np.isnan(ranks), np.inf, ranks)))
    return middle if np.isfinite(middle) else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
