"""What would a score of experts be if examples were drawn again?

Every score here is a sum over examples, divided by another or by their number, less the
same of a second set of examples where there is one. So a draw is a count per cluster,
and all draws are one product of counts and sums.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int64

from driftmap.core.places import BankPlace
from driftmap.core.seeds import child_seed
from driftmap.results.expert_evidence import ExpertFlags
from driftmap.results.expert_usage import Pool
from driftmap.results.experts import ExpertMap, ExpertScores, RoutingCounts

Counts = Float64[np.ndarray, "draw cluster"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """What one set of examples adds to a score.

    Args:
        values: Added up over examples.
        sizes: What their sum is divided by, likewise added up; None for the number of
            examples.
        clusters: Number of each example's cluster: those that were made from one goal
            are drawn together.
    """

    values: Float[np.ndarray, "example bank expert"]
    sizes: Float[np.ndarray, "example _ _"] | None = None
    clusters: Int64[np.ndarray, " example"]

    @property
    def num_clusters(self) -> int:
        """Clusters, each of which has an example (count)."""
        return int(self.clusters.max()) + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SampledScore:
    """A score of every expert, and what it is made of.

    Args:
        name: What tables call it.
        own: Examples that it is of.
        against: Examples whose score is taken off; None without.
        paired: Both sides have the same clusters and are drawn together.
    """

    name: str
    own: Side
    against: Side | None = None
    paired: bool = False

    @property
    def score(self) -> ExpertMap:
        """Of all examples."""
        once = [np.ones((1, side.num_clusters)) for side in self._sides]
        return self.drawn(*once)[0]

    @property
    def num_clusters(self) -> int:
        """Independent units: the clusters of the smaller side (count)."""
        return min(side.num_clusters for side in self._sides)

    def drawn(
        self, own: Counts, against: Float64[np.ndarray, "draw other"] | None = None
    ) -> Float64[np.ndarray, "draw bank expert"]:
        """Score of every draw.

        Args:
            own: How often each draw holds each cluster.
            against: The same of the other side, if there is one.
        """
        scores = _drawn(self.own, own)
        if self.against is None:
            return scores
        assert against is not None, "there is a second side"
        return scores - _drawn(self.against, against)

    def resampled(self, num: int, seed: int) -> Float64[np.ndarray, "draw bank expert"]:
        """Scores of `num` draws with replacement, as many clusters as there are.

        Draws depend on the seed and the number of clusters alone: scores of the same
        examples are drawn together.
        """
        counts = [
            _multinomial(side.num_clusters, num, seed, name)
            for side, name in zip(self._sides, self._names, strict=True)
        ]
        return self.drawn(*counts)

    @property
    def _sides(self) -> tuple[Side, ...]:
        return (self.own,) if self.against is None else (self.own, self.against)

    @property
    def _names(self) -> tuple[str, ...]:
        return ("own", "own" if self.paired else "against")[: len(self._sides)]


def gradient_score(
    scores: ExpertScores, statistic: str, clusters: Int64[np.ndarray, " example"]
) -> SampledScore | None:
    """A statistic of gradients; None for one that is no mean over examples.

    Args:
        scores: Of a pass.
        statistic: Which.
        clusters: Number of each example's cluster.
    """
    if statistic == "per_token":
        values = scores.examples["mean_example_abs"]
        sizes = scores.routed_tokens.astype(np.float64)
        side = Side(values=values, sizes=sizes, clusters=clusters)
    elif statistic in scores.examples:
        side = Side(values=scores.examples[statistic], clusters=clusters)
    else:
        return None
    return SampledScore(name=statistic, own=side)


def contrast_score(own: SampledScore, against: SampledScore) -> SampledScore:
    """One score less the same of other examples."""
    return SampledScore(
        name=f"{own.name}, contrast", own=own.own, against=against.own, paired=False
    )


def risk_score(
    unsafe: RoutingCounts,
    safe: RoutingCounts,
    pool: Pool,
    clusters: Int64[np.ndarray, " example"],
) -> SampledScore:
    """Share of unsafe tokens that choose an expert, less that of safe ones.

    Args:
        unsafe: Where unsafe texts were sent.
        safe: Where the safe text of each was, in the same order.
        pool: `example` the mean of the examples' shares, `token` all tokens alike.
        clusters: Number of each pair's cluster.
    """
    a, b = (_rate_side(counts, pool, clusters) for counts in (unsafe, safe))
    return SampledScore(name="risk_difference", own=a, against=b, paired=True)


def share_score(
    name: str,
    shares: Float[np.ndarray, "example bank expert"],
    clusters: Int64[np.ndarray, " example"],
) -> SampledScore:
    """Mean over examples of anything that each of them has of each expert."""
    return SampledScore(name=name, own=Side(values=shares, clusters=clusters))


def cluster_numbers(keys: Sequence[str]) -> Int64[np.ndarray, " example"]:
    """Number clusters by their first example.

    >>> cluster_numbers(["b", "a", "b"]).tolist()
    [0, 1, 0]
    """
    number: dict[str, int] = {}
    return np.array([number.setdefault(key, len(number)) for key in keys], np.int64)


def there(banks: Sequence[BankPlace]) -> ExpertFlags:
    """True where there is an expert: banks may have fewer than the largest has."""
    sizes = np.array([bank.num_experts for bank in banks])
    return np.arange(sizes.max()) < sizes[:, None]


def _rate_side(
    counts: RoutingCounts, pool: Pool, clusters: Int64[np.ndarray, " example"]
) -> Side:
    tokens = counts.tokens[:, None, None].astype(np.float64)
    chosen = np.where(there(counts.banks), counts.chosen, np.nan)
    if pool == "token":
        return Side(values=chosen, sizes=tokens, clusters=clusters)
    return Side(values=chosen / tokens, clusters=clusters)


def _drawn(side: Side, counts: Counts) -> Float64[np.ndarray, "draw bank expert"]:
    shape = side.values.shape[1:]
    values = counts @ _by_cluster(side.values, side)
    if side.sizes is None:
        size = counts @ np.bincount(side.clusters, minlength=counts.shape[1])
        return (values / size[:, None]).reshape(-1, *shape)
    sizes = counts @ _by_cluster(side.sizes, side)
    values, sizes = np.broadcast_arrays(
        values.reshape(-1, *shape), sizes.reshape(-1, *side.sizes.shape[1:])
    )
    nothing = np.where(np.isnan(values), np.nan, 0.0)
    return np.divide(values, sizes, out=nothing, where=sizes > 0)


def _by_cluster(
    values: Float[np.ndarray, "example _ _"], side: Side
) -> Float64[np.ndarray, "cluster _"]:
    flat = values.reshape(len(values), -1).astype(np.float64)
    summed = np.zeros((side.num_clusters, flat.shape[1]))
    np.add.at(summed, side.clusters, flat)
    return summed


def _multinomial(num_clusters: int, num: int, seed: int, side: str) -> Counts:
    rng = np.random.default_rng(child_seed(seed, "expert bootstrap", side))
    shares = np.full(num_clusters, 1 / num_clusters)
    return rng.multinomial(num_clusters, shares, size=num).astype(np.float64)
