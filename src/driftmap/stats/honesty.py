"""Does a direction tell two instructions apart on statements that it never saw?

Statements are the sample, cuts of one statement are not: intervals draw statements and
keep all their cuts. Labels that are shuffled show what the same search finds where
there is nothing to find.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.honesty import ReadingBand, ReadingMethod
from driftmap.results.statistics import Interval

LEVEL = 0.95
NUM_RESAMPLES = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairScores:
    """Scores of both sides of pairs.

    Args:
        honest: Under the honest instruction.
        dishonest: Under the other one, or of the second kind.
        statement: Which statement each pair is a cut of.
    """

    honest: Float[np.ndarray, " pair"]
    dishonest: Float[np.ndarray, " pair"]
    statement: Int64[np.ndarray, " pair"]

    @property
    def hits(self) -> Float64[np.ndarray, " pair"]:
        """1 where the honest side is higher, a half where it is as high.

        >>> one, two = np.array([2.0, 1.0, 0.0]), np.ones(3)
        >>> PairScores(honest=one, dishonest=two, statement=np.arange(3)).hits
        array([1. , 0.5, 0. ])
        """
        ties = np.equal(self.honest, self.dishonest)
        return np.greater(self.honest, self.dishonest) + 0.5 * ties


class Resampling:
    """Draws of statements with all their cuts, the same for every number of a study."""

    def __init__(self, statement: Int64[np.ndarray, " pair"], seed: int) -> None:
        """Draw once.

        Args:
            statement: Which statement each row belongs to.
            seed: The run's seed.

        Raises:
            MeasureError: There is no row.
        """
        if not statement.size:
            raise MeasureError("there is no statement to draw; give some")
        names, places = np.unique(statement, return_inverse=True)
        rng = np.random.default_rng(child_seed(seed, "statements"))
        num = len(names)
        drawn = rng.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES)
        self.num = num
        self.weights: Float64[np.ndarray, "draw pair"] = drawn[:, places].astype(float)

    def mean(self, values: Float64[np.ndarray, " pair"]) -> Interval:
        """Percentile interval of a mean over rows."""
        drawn = self.weights @ values / self.weights.sum(1)
        return self._interval(float(values.mean()), drawn)

    def auroc(
        self, higher: Float[np.ndarray, " pair"], lower: Float[np.ndarray, " pair"]
    ) -> Interval:
        """Interval of P(higher > lower) + half of ties, over all pairs of rows."""
        one = np.ones((1, len(higher)))
        return self._interval(
            float(_weighted_auroc(higher, lower, one, one)[0]),
            _weighted_auroc(higher, lower, self.weights, self.weights),
        )

    def _interval(
        self, estimate: float, drawn: Float64[np.ndarray, " draw"]
    ) -> Interval:
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Interval(
            estimate=estimate,
            low=float(low),
            high=float(high),
            level=LEVEL,
            num=self.num,
        )


def auroc_of_groups(
    first: Float[np.ndarray, " one"], second: Float[np.ndarray, " two"], seed: int
) -> Interval:
    """P(first > second) + half of ties, where the two kinds are not paired.

    Args:
        first: One score per statement.
        second: The same of other statements.
        seed: Draws statements of each kind apart.

    Raises:
        MeasureError: One kind has no statement.

    >>> auroc_of_groups(np.array([2.0, 3.0]), np.array([0.0, 1.0]), 0).estimate
    1.0
    """
    if not (first.size and second.size):
        raise MeasureError("one of the two kinds has no statement; give both")
    sides = [
        Resampling(np.arange(len(rows)), child_seed(seed, name)).weights
        for name, rows in (("first", first), ("second", second))
    ]
    drawn = _weighted_auroc(first, second, sides[0], sides[1])
    ones = [np.ones((1, len(rows))) for rows in (first, second)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(
        estimate=float(_weighted_auroc(first, second, ones[0], ones[1])[0]),
        low=float(low),
        high=float(high),
        level=LEVEL,
        num=len(first) + len(second),
    )


def of_directions(accuracies: Sequence[float]) -> Interval:
    """Mean over blind directions, and the range that holds 95 % of them."""
    low, high = np.quantile(accuracies, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(
        estimate=float(np.mean(accuracies)),
        low=float(low),
        high=float(high),
        level=LEVEL,
        num=len(accuracies),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerChoice:
    """What layers are chosen by: validation alone.

    Args:
        layers: The blocks.
        auroc: Of each.
        separation: Mean of honest minus dishonest scores, in spreads: what breaks
            ties of layers that tell all pairs apart.
    """

    layers: tuple[int, ...]
    auroc: Float64[np.ndarray, " layer"]
    separation: Float64[np.ndarray, " layer"]


TOLERANCE = 0.02
"""AUROC that a layer of the band may lie below the best one."""


def choose_band(choice: LayerChoice) -> tuple[tuple[int, ...], int]:
    """Choose the neighbouring layers around the best that do nearly as well.

    Args:
        choice: Numbers of the validation half alone.

    Returns:
        The layers, and the best of them.

    >>> auroc, separation = np.array([0.6, 0.99, 1, 0.7]), np.array([1.0, 2, 3, 4])
    >>> choose_band(
    ...     LayerChoice(layers=(0, 1, 2, 3), auroc=auroc, separation=separation)
    ... )
    ((1, 2), 2)
    """
    order = np.lexsort((-choice.separation, -choice.auroc.round(6)))
    best = first = last = int(order[0])
    good = choice.auroc >= choice.auroc[best] - TOLERANCE
    while first > 0 and good[first - 1]:
        first -= 1
    while last + 1 < len(good) and good[last + 1]:
        last += 1
    return choice.layers[first : last + 1], choice.layers[best]


def best_threshold(scores: PairScores) -> float:
    """The score that tells single honest states from dishonest ones best.

    Halfway between the two scores it lies between; of several equally good ones the
    one nearest to 0, where the class means of training meet.

    >>> one = PairScores(honest=np.array([1.0, 3.0]), dishonest=np.array([-3.0, -2.0]),
    ...                  statement=np.arange(2))
    >>> best_threshold(one)
    -0.5
    """
    both = np.concatenate([scores.honest, scores.dishonest]).astype(float)
    edges = np.unique(both)
    middle = (edges[1:] + edges[:-1]) / 2
    candidates = np.concatenate([[edges[0] - 1], middle, [edges[-1] + 1]])
    honest, dishonest = np.sort(scores.honest), np.sort(scores.dishonest)
    right = len(honest) - np.searchsorted(honest, candidates, side="right")
    right = right + np.searchsorted(dishonest, candidates, side="right")
    tied = candidates[right == right.max()]
    return float(tied[np.abs(tied).argmin()])


def band_evidence(
    method: ReadingMethod,
    chosen: tuple[tuple[int, ...], int],
    validation: PairScores,
    test: PairScores,
    control_hits: Float64[np.ndarray, " pair"],
    seed: int,
) -> ReadingBand:
    """Try the band on the test half, with the threshold of the validation half.

    Args:
        method: How its directions were found.
        chosen: From `choose_band`.
        validation: Mean scores over the band.
        test: The same of the test half.
        control_hits: Of test pairs with shuffled labels, mean over draws.
        seed: The run's seed.
    """
    layers, best = chosen
    threshold = best_threshold(validation)
    draws = Resampling(test.statement, seed)
    right = (test.honest > threshold) / 2 + (test.dishonest <= threshold) / 2
    return ReadingBand(
        method=method,
        layers=layers,
        best=best,
        threshold=threshold,
        pair_accuracy=draws.mean(test.hits),
        auroc=draws.auroc(test.honest, test.dishonest),
        accuracy=draws.mean(right),
        control_accuracy=draws.mean(control_hits),
        selectivity=draws.mean(test.hits - control_hits),
    )


def shuffled_by_pair(num: int, seed: int) -> np.ndarray:
    """Which pairs exchange their labels: each by a coin of its own.

    >>> shuffled_by_pair(6, 0).dtype, shuffled_by_pair(6, 0).shape
    (dtype('bool'), (6,))
    """
    return np.random.default_rng(child_seed(seed, "by pair")).random(num) < 0.5


def shuffled_by_statement(
    statement: Int64[np.ndarray, " pair"], seed: int
) -> np.ndarray:
    """Which pairs exchange their labels: all cuts of a statement by one coin.

    >>> shuffled_by_statement(np.array([4, 4, 4, 4]), 1).sum() in (0, 4)
    True
    """
    names, places = np.unique(statement, return_inverse=True)
    coins = np.random.default_rng(child_seed(seed, "by statement")).random(len(names))
    return (coins < 0.5)[places]


def averaged(
    draw: Callable[[int], Float64[np.ndarray, " pair"]], num_draws: int
) -> Float64[np.ndarray, " pair"]:
    """Mean of several draws of one number per pair."""
    return np.mean([draw(number) for number in range(num_draws)], axis=0)


def _weighted_auroc(
    higher: Float[np.ndarray, " one"],
    lower: Float[np.ndarray, " two"],
    weights_higher: Float64[np.ndarray, "draw one"],
    weights_lower: Float64[np.ndarray, "draw two"],
) -> Float64[np.ndarray, " draw"]:
    order = np.argsort(lower, kind="stable")
    sums = np.cumsum(weights_lower[:, order], axis=1)
    sums = np.concatenate([np.zeros((len(sums), 1)), sums], axis=1)
    below = np.searchsorted(lower[order], higher, side="left")
    through = np.searchsorted(lower[order], higher, side="right")
    won = (sums[:, below] + sums[:, through]) / 2
    total = weights_higher.sum(1) * weights_lower.sum(1)
    return (weights_higher * won).sum(1) / total
