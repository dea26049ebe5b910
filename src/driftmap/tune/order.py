"""In which order are samples taken, and by which of several processes?

A step takes `batch_size * grad_accum` samples, whatever the number of processes: they
share the batches of each step, in turn. Where a step has fewer batches than there are
processes, such as the last one of an epoch, the others take a batch of nothing.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import TypeVar

import numpy as np
from torch.utils.data import DataLoader, Sampler

from driftmap.core.errors import UsageError
from driftmap.core.seeds import child_seed
from driftmap.tune.settings import TuningSettings

Row = TypeVar("Row")


def epoch_order(size: int, data_seed: int, epoch: int) -> list[int]:
    """In which order one epoch takes the samples, from the data seed alone."""
    generator = np.random.default_rng(child_seed(data_seed, "epoch", epoch))
    return generator.permutation(size).tolist()


def batches_of_rank(
    order: Sequence[Row], batch_size: int, rank: int, num_ranks: int
) -> list[Sequence[Row]]:
    """The batches that one of several processes takes; an empty one where none is left.

    >>> batches_of_rank("abcdefg", 2, 0, 3), batches_of_rank("abcdefg", 2, 1, 3)
    (['ab', 'g'], ['cd', ''])
    """
    rounds = ceil(ceil(len(order) / batch_size) / num_ranks)
    starts = [(n * num_ranks + rank) * batch_size for n in range(rounds)]
    return [order[start : start + batch_size] for start in starts]


def require_even_shares(settings: TuningSettings, num_ranks: int) -> None:
    """Refuse processes that cannot take equally many batches of a step.

    Raises:
        UsageError: They cannot; the sentence names sizes with which they can.
    """
    if settings.grad_accum % num_ranks == 0:
        return
    total = settings.batch_size * settings.grad_accum
    sizes = [
        n for n in range(1, settings.batch_size + 1) if total % (n * num_ranks) == 0
    ]
    remedy = (
        f"give --batch-size {sizes[-1]} --grad-accum {total // sizes[-1]}, which is "
        "as many samples a step"
        if sizes
        else f"start a number of processes that divides {settings.grad_accum}"
    )
    raise UsageError(
        f"--grad-accum {settings.grad_accum}: {num_ranks} processes cannot share the "
        f"batches of a step evenly; {remedy}"
    )


class EpochOrder(Sampler[int]):
    """A new order of the samples for every epoch, from the data seed alone."""

    def __init__(self, size: int, seed: int) -> None:
        """Order `size` samples."""
        self.size = size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        return iter(epoch_order(self.size, self.seed, self.epoch))


class RankBatches(Sampler[list[int]]):
    """The batches of one of several processes; the number `len(order)` is nothing."""

    def __init__(
        self, order: EpochOrder, batch_size: int, rank: int, num_ranks: int
    ) -> None:
        """Share the batches of `order` between `num_ranks` processes."""
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.num_ranks = num_ranks

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch."""
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return ceil(ceil(len(self.order) / self.batch_size) / self.num_ranks)

    def __iter__(self) -> Iterator[list[int]]:
        order, nothing = list(self.order), [len(self.order)]
        shares = batches_of_rank(order, self.batch_size, self.rank, self.num_ranks)
        return iter([list(batch) or nothing for batch in shares])


class RankLoader(DataLoader[object]):
    """A loader that hands the epoch on to its batches."""

    def set_epoch(self, epoch: int) -> None:
        """Go to another epoch."""
        batches = self.batch_sampler
        assert isinstance(batches, RankBatches)
        batches.set_epoch(epoch)
