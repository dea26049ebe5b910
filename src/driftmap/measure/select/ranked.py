"""Which weights of one matrix come first, and which of several cuts take them?

Order is score descending (or ascending, where the lowest are asked for), then
position ascending: one right answer on every device.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site

# Axes of mappings stay unnamed: one name has one size in all matrices of a call.
FlatIndex = Int64[np.ndarray, " _"]
Members = dict[Site, FlatIndex]
ScoreOf = Mapping[Site, Float[Tensor, "_ _"]]

MOST_CUTS = 200
_SAMPLE_SIZE = 1 << 16
_BLOCK = 1 << 22


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How many of the first weights are taken.

    Args:
        share: Part of the weights that compete, 0 to 1; the count is rounded down.
        at_least: Weights that are taken whatever the share says.
    """

    share: float
    at_least: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no part of a whole.

        Raises:
            MeasureError: The share is not from 0 to 1.
        """
        if not 0 <= self.share <= 1:
            raise MeasureError(
                f"a share of {self.share} is none: give a number from 0 to 1"
            )

    def count(self, num_weights: int) -> int:
        """Weights taken of so many.

        >>> Cut(share=0.001).count(4096 * 11008)
        45088
        """
        return max(min(self.at_least, num_weights), int(self.share * num_weights))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranked:
    """Weights of one matrix that the widest of several cuts takes.

    Args:
        index: Flat indices, ascending.
        level: How many of the distinct counts are too small to take this weight.
        reach: Per cut, the level below which it takes a weight.
    """

    index: Int64[np.ndarray, " weight"]
    level: UInt8[np.ndarray, " weight"]
    reach: tuple[int, ...]

    def taken(self, cut: int = 0) -> FlatIndex:
        """What one cut takes, ascending."""
        if self.reach[cut] == max(self.reach):
            return self.index
        return self.index[self.level < self.reach[cut]]

    def among(self, cuts: slice) -> "Ranked":
        """The same weights, with only some of the cuts."""
        return Ranked(index=self.index, level=self.level, reach=self.reach[cuts])


def sorting_keys(
    site: Site, score: Float[Tensor, "_ _"], *, lowest: bool
) -> Float32[Tensor, "row column"]:
    """Turn scores into float32 numbers of which the highest come first.

    Raises:
        MeasureError: A score is negative or not finite.
    """
    assert score.shape == site.shape, site.key
    keys = score.detach().float()
    low, high = (bound.item() for bound in keys.aminmax())
    if not (low >= 0 and high < float("inf")):
        raise MeasureError(
            f"{site.key}: a score is negative or not finite ({low} to {high}); "
            "are the model's weights damaged?"
        )
    return -keys if lowest else keys


def distinct(counts: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Different counts above 0, ascending, and how many of them each count covers.

    >>> distinct([5, 0, 2, 5])
    ((2, 5), (2, 0, 1, 2))
    """
    assert len(counts) <= MOST_CUTS
    steps = tuple(sorted({count for count in counts if count}))
    return steps, tuple(sum(step <= count for step in steps) for count in counts)


def rank_matrix(keys: Float32[Tensor, "row column"], counts: Sequence[int]) -> Ranked:
    """Take the first of a whole matrix.

    Args:
        keys: What `sorting_keys` gives.
        counts: Weights that each cut takes.
    """
    steps, reach = distinct(counts)
    values = keys.reshape(-1)
    index, likely = _likely(values, steps[-1] if steps else 0)
    return ranked(index, likely, steps, reach)


def rank_rows(keys: Float32[Tensor, "row column"], counts: Sequence[int]) -> Ranked:
    """Take the first of every row.

    Args:
        keys: What `sorting_keys` gives.
        counts: Weights of each row that each cut takes.
    """
    steps, reach = distinct(counts)
    num_columns = keys.shape[1]
    height = max(1, _BLOCK // num_columns)
    found, levels = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint8)]
    for start in range(0, len(keys) if steps else 0, height):
        block = keys[start : start + height].cpu().numpy()
        level = np.zeros(block.shape, dtype=np.uint8)
        for step in steps:
            level += ~_best_of_rows(block, step)
        index = np.flatnonzero(level < len(steps))
        found.append(index + start * num_columns)
        levels.append(level.reshape(-1)[index])
    return Ranked(
        index=np.concatenate(found), level=np.concatenate(levels), reach=reach
    )


def ranked(
    index: Int64[np.ndarray, " weight"],
    keys: Float32[np.ndarray, " weight"],
    steps: Sequence[int],
    reach: tuple[int, ...],
) -> Ranked:
    """Say of candidates in order of position which counts take them; drop the rest."""
    level = np.zeros(keys.size, dtype=np.uint8)
    for step in steps:
        level += ~best(keys, step)
    kept = level < len(steps)
    return Ranked(index=index[kept], level=level[kept], reach=reach)


def best(
    keys: Float32[np.ndarray, " weight"], count: int
) -> Bool[np.ndarray, " weight"]:
    """Mark the highest, the first of equals first."""
    if count >= keys.size:
        return np.ones(keys.size, dtype=bool)
    if not count:
        return np.zeros(keys.size, dtype=bool)
    border = np.partition(keys, keys.size - count)[keys.size - count]
    taken = keys > border
    ties = np.flatnonzero(keys == border)
    taken[ties[: count - int(np.count_nonzero(taken))]] = True
    return taken


def _best_of_rows(
    keys: Float32[np.ndarray, "row column"], count: int
) -> Bool[np.ndarray, "row column"]:
    width = keys.shape[1]
    if count >= width:
        return np.ones(keys.shape, dtype=bool)
    border = np.partition(keys, width - count, axis=1)[:, width - count, None]
    taken, ties = keys > border, keys == border
    needed = count - np.count_nonzero(taken, axis=1)
    tied = np.flatnonzero(np.count_nonzero(ties, axis=1) > needed)
    first = np.cumsum(ties[tied], axis=1, dtype=np.int32) <= needed[tied, None]
    ties[tied] &= first
    return taken | ties


def beyond(
    values: Float32[Tensor, " weight"], border: float, *, ties: bool
) -> tuple[Int64[np.ndarray, " _"], Float32[np.ndarray, " _"]]:
    """Find values above a border, ascending by place, and those that equal it if asked.

    Only what is found leaves the device.
    """
    if values.is_cpu:
        held = values.numpy()
        index = np.flatnonzero(held >= border if ties else held > border)
        return index, held[index]
    places = (values >= border if ties else values > border).nonzero().squeeze(1)
    return places.cpu().numpy(), values[places].cpu().numpy()


def _likely(
    values: Float32[Tensor, " weight"], count: int
) -> tuple[Int64[np.ndarray, " _"], Float32[np.ndarray, " _"]]:
    """The few that a strided sample lets through, `count` of them at least."""
    if not count:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    stride = values.numel() // _SAMPLE_SIZE | 1  # odd: meets every column
    sample = values[::stride]
    expected = count / values.numel() * sample.numel()
    rank = min(sample.numel(), int(1.1 * expected + 6 * expected**0.5) + 8)
    floor = sample.topk(rank, sorted=True).values[-1].item()
    index, likely = beyond(values, floor, ties=True)
    if index.size < count:
        return np.arange(values.numel()), values.cpu().numpy()
    return index, likely
