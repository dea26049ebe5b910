"""Which orders of the candidates stand beside each other, and in which row is each?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.results.baselines import Baseline
from driftmap.results.retrieval import WeightingName
from driftmap.results.retrieval_reading import Unit
from driftmap.stats.retrieval.learning import (
    equal_weights,
    learnt_weights,
    per_weight,
)
from driftmap.stats.retrieval.pairs import SetPairs
from driftmap.stats.retrieval.scoring import Scorer, make_scorer
from driftmap.stats.retrieval.units import Joined

PerTensor = Float64[np.ndarray, " tensor"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lineup:
    """Rows of scores: tensors first, then sums, the mean of cosines, and baselines.

    Args:
        scorer: Everything but the baselines.
        units: What is read, and the row of each.
        weights: Tensor weights of each weighting; none for the mean of cosines.
        weightings: Row of each weighting.
        scored: Baselines with scores, in order of their rows.
        ranked: Baselines with ranks alone, after those.
    """

    scorer: Scorer
    units: tuple[tuple[Unit, int], ...]
    weights: Mapping[WeightingName, PerTensor]
    weightings: Mapping[WeightingName, int]
    scored: tuple[Baseline, ...]
    ranked: tuple[Baseline, ...]

    @property
    def full(self) -> int:
        """Row of all tensors."""
        return self.units[0][1]

    @property
    def tensors(self) -> range:
        """Rows of the tensors alone."""
        return range(len(self.scorer.weights))

    @property
    def baselines(self) -> tuple[tuple[str, int], ...]:
        """Name and row of each baseline."""
        first = self.scorer.num_rows
        names = [b.name for b in (*self.scored, *self.ranked)]
        return tuple((name, first + n) for n, name in enumerate(names))


def line_up(
    pairs: SetPairs,
    units: Sequence[Joined],
    baselines: Sequence[Baseline],
    chosen: Bool[np.ndarray, " query"] | None,
) -> Lineup:
    """Give each order a row; units of the same tensors share one.

    Args:
        pairs: One set.
        units: What is read of the tensors.
        baselines: What stands beside them.
        chosen: Queries that weights are learnt on; None learns none.
    """
    weights = _weights(pairs, chosen)
    num_tensors = len(pairs.products.tensors)
    joined: list[PerTensor] = []
    row_of: dict[tuple[int, ...], int] = {(n,): n for n in range(num_tensors)}
    for unit in units:
        if unit.columns not in row_of:
            row_of[unit.columns] = num_tensors + len(joined)
            joined.append(_indicator(unit.columns, num_tensors))
    weightings: dict[WeightingName, int] = {}
    for name, weight in weights.items():
        if name == "plain":
            weightings[name] = row_of[units[0].columns]
        else:
            weightings[name] = num_tensors + len(joined)
            joined.append(weight)
    weightings["mean_of_cosines"] = num_tensors + len(joined)
    return Lineup(
        scorer=make_scorer(pairs, joined, adds_mean=True),
        units=tuple((unit.unit, row_of[unit.columns]) for unit in units),
        weights=weights,
        weightings=weightings,
        scored=tuple(b for b in baselines if b.scores is not None),
        ranked=tuple(b for b in baselines if b.scores is None),
    )


def _weights(
    pairs: SetPairs, chosen: Bool[np.ndarray, " query"] | None
) -> Mapping[WeightingName, PerTensor]:
    tried: dict[WeightingName, PerTensor | None] = {
        "plain": np.ones(len(pairs.products.tensors)),
        "equal": equal_weights(pairs),
        "per_weight": per_weight(pairs),
        "learnt": None if chosen is None else learnt_weights(pairs, chosen),
    }
    return {name: weights for name, weights in tried.items() if weights is not None}


def _indicator(columns: tuple[int, ...], num: int) -> PerTensor:
    weights = np.zeros(num)
    weights[list(columns)] = 1.0
    return weights
