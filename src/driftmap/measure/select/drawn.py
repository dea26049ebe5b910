"""Which weights stand beside a group by chance alone?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int16, Int64, Shaped, UInt8

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.measure.select.ranked import Cut, FlatIndex, Members
from driftmap.stats.bins import quantile_bins

NUM_BINS = 40
_BLOCK = 1 << 16


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
    kept = np.where(free, bins, wanted.size).astype(np.uint8)
    counts = np.stack([_counts(block, wanted.size) for block in _blocks(kept)])
    ends = np.cumsum(counts, axis=0)
    blocks, ranks, numbers = [], [], []
    for number in np.flatnonzero(wanted):
        size = int(ends[-1, number])
        # The rank of a weight within its bin stands for the weight.
        rank = generator.choice(
            size, min(int(wanted[number]), size), replace=False, shuffle=False
        )
        block = np.searchsorted(ends[:, number], rank, side="right")
        blocks.append(block)
        ranks.append(rank - (ends - counts)[block, number])
        numbers.append(np.full(rank.size, number))
    if not blocks:
        return np.empty(0, dtype=np.int64)
    return _places(
        kept,
        counts,
        (np.concatenate(blocks), np.concatenate(numbers)),
        np.concatenate(ranks),
    )


def _places(
    kept: UInt8[np.ndarray, " weight"],
    counts: Int64[np.ndarray, "block bin"],
    of: tuple[Int64[np.ndarray, " drawn"], Int64[np.ndarray, " drawn"]],
    ranks: Int64[np.ndarray, " drawn"],
) -> FlatIndex:
    """Find weights by block, bin and rank among the block's weights of that bin."""
    blocks, numbers = of
    order = np.argsort(blocks, kind="stable")
    first = np.searchsorted(blocks[order], np.arange(len(counts) + 1))
    starts = np.cumsum(counts, axis=1) - counts
    found = []
    for number, block in enumerate(_blocks(kept)):
        drawn = order[first[number] : first[number + 1]]
        if drawn.size:
            by_bin = np.argsort(block, kind="stable")
            places = by_bin[starts[number, numbers[drawn]] + ranks[drawn]]
            found.append(number * _BLOCK + np.sort(places))
    return np.concatenate([np.empty(0, dtype=np.int64), *found])


def _blocks(
    kept: UInt8[np.ndarray, " weight"],
) -> Iterator[UInt8[np.ndarray, " _"]]:
    for start in range(0, kept.size, _BLOCK):
        yield kept[start : start + _BLOCK]


def _counts(
    block: UInt8[np.ndarray, " weight"], num_bins: int
) -> Int64[np.ndarray, " bin"]:
    return np.bincount(block, minlength=num_bins + 1)[:num_bins]
