"""Which weights belong to a behaviour, given a score for each of them?

Every rule works within one matrix and has one right answer: order is score
descending, then flat index ascending, on every device.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int16, Int64, Shaped
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.stats.bins import quantile_bins

# Axes of mappings stay unnamed: one name has one size in all matrices of a call.
FlatIndex = Int64[np.ndarray, " _"]
Members = dict[Site, FlatIndex]
ScoreOf = Mapping[Site, Float[Tensor, "_ _"]]

NUM_BINS = 40
_SAMPLE_SIZE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortfall:
    """A bin that has too few weights to stand for the group's.

    Args:
        site: The matrix.
        bin_index: Number of the |W0| bin, from 0 for the smallest weights.
        num_wanted: Weights that the group has there.
        num_found: Weights that could be drawn; all of them were.
    """

    site: Site
    bin_index: int
    num_wanted: int
    num_found: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedMembers:
    """A control group of the same size, matrix by matrix and bin by bin.

    Args:
        members: Flat indices per site, ascending.
        shortfalls: Bins that could not be matched in full.
    """

    members: Members
    shortfalls: tuple[Shortfall, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overlap:
    """How much two groups share: `|A & B| / |A | B|`.

    Args:
        pooled: Over all matrices.
        by_site: Per matrix; one where both are empty is left out.
    """

    pooled: float
    by_site: Mapping[Site, float]


def top(scores: ScoreOf, share: float) -> Members:
    """Take the highest scores of every matrix, at least one.

    Args:
        scores: Non-negative scores per matrix.
        share: Part of each matrix to take, 0 to 1; the count is rounded down.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, or the share is none.

    >>> import torch
    >>> site = Site(path="map", layer=0, part="q", num_rows=2, num_columns=2)
    >>> top({site: torch.tensor([[1.0, 3.0], [3.0, 3.0]])}, 0.5)[site]
    array([1, 2])
    """
    _require_share(share)
    return {
        site: _highest(site, score, max(1, _count(share, site)))
        for site, score in scores.items()
    }


def difference(behaviour: ScoreOf, utility: ScoreOf, *, p: float, q: float) -> Members:
    """Take what matters to a behaviour and not to ordinary ability.

    Per matrix, the top q of the behaviour's score without the top p of the
    utility's (Wei et al. 2024, section 3.3). Either may be empty.

    Args:
        behaviour: Scores on samples that show the behaviour.
        utility: Scores on samples of ordinary ability, of the same matrices.
        p: Part of each matrix that utility claims, 0 to 1.
        q: Part of each matrix that the behaviour claims, 0 to 1.

    Returns:
        Flat indices per site, ascending.

    Raises:
        MeasureError: A score is negative or not finite, a share is none, or the
            scores are of different matrices.
    """
    _require_share(p)
    _require_share(q)
    if behaviour.keys() != utility.keys():
        odd = min(s.key for s in behaviour.keys() ^ utility.keys())
        raise MeasureError(f"{odd} has only one of the two scores: score both alike")
    members: Members = {}
    for site, score in behaviour.items():
        wanted = _highest(site, score, _count(q, site))
        claimed = _highest(site, utility[site], _count(p, site))
        members[site] = np.setdiff1d(wanted, claimed, assume_unique=True)
    return members


def random_weights(sites: Sequence[Site], share: float, seed: int) -> Members:
    """Draw weights of every matrix without replacement.

    Args:
        sites: The matrices, in any order: each has a seed of its own.
        share: Part of each matrix to draw, 0 to 1; at least one weight.
        seed: The run's seed.

    Returns:
        Flat indices per site, ascending.
    """
    _require_share(share)
    members: Members = {}
    for site in sites:
        generator = np.random.default_rng(child_seed(seed, "random", site.key))
        count = max(1, _count(share, site))
        drawn = generator.choice(site.num_weights, count, replace=False, shuffle=False)
        members[site] = np.sort(drawn)
    return members


def matched(
    members: Mapping[Site, FlatIndex],
    magnitudes: Callable[[Site], Shaped[np.ndarray, "..."]],
    excluded: Sequence[Mapping[Site, FlatIndex]],
    seed: int,
) -> MatchedMembers:
    """Draw a control group of equally large weights that no group has declared.

    Per matrix and quantile bin of |W0| (40 bins) as many weights as the group
    has. A bin that runs out stays short and is reported: another bin would not
    be a match.

    Args:
        members: The group to match; leave out matrices that cannot move.
        magnitudes: Gives |W0| of a matrix, `[row column]` or flat.
        excluded: Weights that must not be drawn: the other declared groups, and
            frozen weights. The group itself never is.
        seed: The run's seed.

    Returns:
        The control group, and the bins where it is short.
    """
    control: Members = {}
    shortfalls: list[Shortfall] = []
    for site, index in members.items():
        bins = quantile_bins(np.asarray(magnitudes(site)).reshape(-1), NUM_BINS)
        free = np.ones(site.num_weights, dtype=bool)
        for taken in [index, *(group[site] for group in excluded if site in group)]:
            free[taken] = False
        wanted = np.bincount(bins[index], minlength=NUM_BINS)
        drawn = _draw_by_bin(bins, free, wanted, child_seed(seed, "matched", site.key))
        found = np.bincount(bins[drawn], minlength=NUM_BINS)
        control[site] = drawn
        shortfalls += [
            Shortfall(
                site=site,
                bin_index=number,
                num_wanted=int(wanted[number]),
                num_found=int(found[number]),
            )
            for number in np.flatnonzero(found < wanted).tolist()
        ]
    return MatchedMembers(members=control, shortfalls=tuple(shortfalls))


def overlap(left: Mapping[Site, FlatIndex], right: Mapping[Site, FlatIndex]) -> Overlap:
    """Compare two groups of one model by the Jaccard index.

    Args:
        left: Flat indices per site, ascending; a missing site is empty.
        right: The same of the other group.

    Raises:
        MeasureError: Both groups are empty.

    >>> site = Site(path="map", layer=0, part="q", num_rows=2, num_columns=2)
    >>> overlap({site: np.array([0, 1])}, {site: np.array([1, 2])}).pooled
    0.3333333333333333
    """
    nothing = np.empty(0, dtype=np.int64)
    by_site: dict[Site, float] = {}
    shared = united = 0
    for site in [*left, *(site for site in right if site not in left)]:
        a, b = left.get(site, nothing), right.get(site, nothing)
        both = np.intersect1d(a, b, assume_unique=True).size
        either = a.size + b.size - both
        if either:
            by_site[site] = both / either
        shared, united = shared + both, united + either
    if not united:
        raise MeasureError("two empty groups have no overlap: take larger shares")
    return Overlap(pooled=shared / united, by_site=by_site)


def _require_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise MeasureError(f"a share of {share} is none: give a number from 0 to 1")


def _count(share: float, site: Site) -> int:
    return int(share * site.num_weights)


def _highest(site: Site, score: Tensor, count: int) -> FlatIndex:
    values = score.detach().reshape(-1)
    assert values.numel() == site.num_weights, site.key
    low, high = (bound.item() for bound in values.aminmax())
    if not (low >= 0 and high < float("inf")):
        raise MeasureError(
            f"{site.key}: a score is negative or not finite ({low} to {high}); "
            "are the model's weights damaged?"
        )
    if count == 0:
        return np.empty(0, dtype=np.int64)
    border = _kth_highest(values, count)
    above = (values > border).cpu().numpy()
    ties = np.flatnonzero((values == border).cpu().numpy())
    above[ties[: count - int(np.count_nonzero(above))]] = True
    return np.flatnonzero(above)


def _draw_by_bin(
    bins: Int16[np.ndarray, " weight"],
    free: Bool[np.ndarray, " weight"],
    wanted: Int64[np.ndarray, " bin"],
    seed: int,
) -> FlatIndex:
    """Draw `wanted` free weights of each bin, or all that there are."""
    generator = np.random.default_rng(seed)
    candidates = np.flatnonzero(free)
    sizes = np.bincount(bins[candidates], minlength=wanted.size)
    pools = np.split(
        candidates[np.argsort(bins[candidates], kind="stable")], np.cumsum(sizes)[:-1]
    )
    drawn = [
        generator.choice(pool, min(count, pool.size), replace=False, shuffle=False)
        for pool, count in zip(pools, wanted.tolist(), strict=True)
        if count
    ]
    return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *drawn]))


def _kth_highest(values: Tensor, count: int) -> Tensor:
    """Find the exact k-th value among the few that a strided sample lets through."""
    stride = values.numel() // _SAMPLE_SIZE | 1  # odd: meets every column
    sample = values[::stride]
    expected = count / values.numel() * sample.numel()
    rank = min(sample.numel(), int(1.1 * expected + 6 * expected**0.5) + 8)
    floor = sample.topk(rank, sorted=True).values[-1]
    likely = values[values >= floor]
    if likely.numel() < count:
        likely = values
    return likely.kthvalue(likely.numel() - count + 1).values
