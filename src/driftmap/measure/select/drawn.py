"""Which weights stand beside a group by chance alone?"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int16, Int64, Shaped

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.measure.select.ranked import Cut, FlatIndex, Members
from driftmap.stats.bins import quantile_bins

NUM_BINS = 40


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


def random_weights(sites: Sequence[Site], share: float, seed: int) -> Members:
    """Draw weights of every matrix without replacement.

    Args:
        sites: The matrices, in any order: each has a seed of its own.
        share: Part of each matrix to draw, 0 to 1; at least one weight.
        seed: The run's seed.

    Returns:
        Flat indices per site, ascending.
    """
    cut = Cut(share=share, at_least=1)
    members: Members = {}
    for site in sites:
        generator = np.random.default_rng(child_seed(seed, "random", site.key))
        count = cut.count(site.num_weights)
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
