"""What is the product of two gradients that are never made?

`<G1^T X1, G2^T X2> = sum((X1 X2^T) * (G1 G2^T))` (Goodfellow, arXiv:1510.01799). A
table that is the head as well has four terms: the products, the rows that were looked
up, and each of them against the other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from driftmap.measure.products.factors import Factors, Outer
from driftmap.measure.products.pieces import PIECE
from driftmap.signals.assembled import TouchedRows

GRAM = 2**20
"""Numbers of a product of token with token made at once (count); on a GPU more."""

GRAM_ON_GPU = 2**25

KEPT_GRAMS = 2**27
"""Bytes of products of inputs that are kept for tensors that share them."""


class SharedGrams:
    """Keeps `X1 X2^T` of the newest inputs: of q, k and v it is made once."""

    def __init__(self) -> None:
        self._came: Tensor | None = None
        self._found: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._bytes = 0

    def of(
        self, kept: Tensor, came: Tensor, block: int, make: Callable[[], Tensor]
    ) -> Tensor:
        """Find the product of a block of two batches' inputs, or make it."""
        if came is not self._came:
            self._came, self._found, self._bytes = came, {}, 0
        key = (id(kept), block)
        if key in self._found:
            return self._found[key][1]
        gram = make()
        size = gram.element_size() * gram.nelement()
        if self._bytes + size <= KEPT_GRAMS:
            self._found[key] = (kept, gram)  # held, so its id stays its own
            self._bytes += size
        return gram


def ghost_products(
    kept: Factors,
    came: Factors,
    paired: Bool[np.ndarray, "kept came"],
    grams: SharedGrams,
) -> Float64[np.ndarray, "kept came"]:
    """Inner products of the pairs asked for; 0 elsewhere.

    Args:
        kept: One batch.
        came: Another batch, of the same tensor.
        paired: Which pairs; alike for all tensors that share their inputs.
        grams: Products of inputs that other tensors have made.
    """
    found = np.zeros(paired.shape)
    if not (kept.tensors and came.tensors):
        return found
    device = came.tensors[0].device
    for number, block in enumerate(_blocks(kept, came, paired)):
        left, right = kept.of(block.kept), came.of(block.came)
        total = torch.zeros(
            left.num_samples, right.num_samples, dtype=torch.float64, device=device
        )
        if kept.outer and came.outer and left.outer and right.outer:
            make = lambda a=left.outer, b=right.outer: _gram(a.inputs, b.inputs)  # noqa: E731
            inputs = grams.of(kept.outer.inputs, came.outer.inputs, number, make)
            total += _outer_by_outer(inputs, left.outer, right.outer)
        if left.rows and right.outer:
            total += _rows_by_outer(left.rows, right.outer, left.num_samples)
        if left.outer and right.rows:
            total += _rows_by_outer(right.rows, left.outer, right.num_samples).T
        if left.rows and right.rows:
            total += _rows_by_rows(left, right)
        found[np.ix_(block.kept, block.came)] = total.cpu().numpy()
    return found


def ghost_energies(factors: Factors, grams: SharedGrams) -> Float64[Tensor, " sample"]:
    """Squared norm of every sample's gradient."""
    itself = np.eye(factors.num_samples, dtype=bool)
    found = ghost_products(factors, factors, itself, grams).diagonal().copy()
    return torch.from_numpy(found)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Block:
    """Samples of two batches, all of which are paired with each other."""

    kept: Int64[np.ndarray, " kept"]
    came: Int64[np.ndarray, " came"]


def _blocks(
    kept: Factors, came: Factors, paired: Bool[np.ndarray, "kept came"]
) -> Iterator[_Block]:
    """Split the pairs so that little is made at once."""
    room = GRAM if came.tensors[0].device.type == "cpu" else GRAM_ON_GPU
    pair = max(1, kept.num_tokens * came.num_tokens)
    all_kept, all_came = (np.arange(n) for n in paired.shape)
    if not paired.all():
        for one in all_came[paired.any(axis=0)]:
            chosen = paired[:, one].nonzero()[0]
            for part in _split(chosen, room // pair):
                yield _Block(kept=part, came=all_came[one : one + 1])
        return
    for part in _split(all_kept, room // pair):
        for other in _split(all_came, room // (pair * len(part))):
            yield _Block(kept=part, came=other)


def _split(
    samples: Int64[np.ndarray, " sample"], length: int
) -> Iterator[Int64[np.ndarray, " sample"]]:
    for start in range(0, len(samples), max(1, length)):
        yield samples[start : start + max(1, length)]


def _gram(
    left: Float[Tensor, "kept _ width"], right: Float[Tensor, "came _ width"]
) -> Float[Tensor, "_ _"]:
    """Every token with every token; in float64 where the rows are long."""
    first, second = left.flatten(end_dim=1), right.flatten(end_dim=1)
    if first.shape[1] <= PIECE:
        return first @ second.T
    total = first.new_zeros(len(first), len(second), dtype=torch.float64)
    pieces = zip(first.split(PIECE, dim=1), second.split(PIECE, dim=1), strict=True)
    for one, other in pieces:
        total += (one @ other.T).double()
    return total


def _outer_by_outer(
    inputs: Float[Tensor, "_ _"], left: Outer, right: Outer
) -> Float64[Tensor, "kept came"]:
    gradients = _gram(left.gradients, right.gradients)
    num_kept, kept_tokens = left.inputs.shape[:2]
    num_came, came_tokens = right.inputs.shape[:2]
    product = (inputs * gradients).double()
    product = product.view(num_kept, kept_tokens, num_came, came_tokens)
    return product.sum(dim=(1, 3))


def _rows_by_outer(
    rows: TouchedRows, outer: Outer, num_samples: int
) -> Float64[Tensor, "of_rows of_outer"]:
    """`sum_{t,s} G[s, id_t] <E_t, X_s>`: a row meets its own column of the outputs."""
    inputs, gradients = outer.inputs, outer.gradients
    met = _gram(rows.values[None], inputs)
    column = gradients.flatten(end_dim=1)[:, rows.row].T
    product = (met * column).double().view(-1, *inputs.shape[:2]).sum(dim=2)
    total = product.new_zeros(num_samples, len(inputs))
    return total.index_add_(0, rows.sample, product)


def _rows_by_rows(left: Factors, right: Factors) -> Float64[Tensor, "kept came"]:
    """Only rows that both have looked up."""
    first, second = left.rows, right.rows
    assert first is not None, "asked before"
    assert second is not None, "asked before"
    order = second.row.argsort(stable=True)
    known = second.row[order]
    start = torch.searchsorted(known, first.row)
    count = torch.searchsorted(known, first.row, right=True) - start
    one = torch.arange(len(count), device=count.device).repeat_interleave(count)
    before = count.cumsum(dim=0) - count
    within = torch.arange(len(one), device=one.device) - before[one]
    other = order[start[one] + within]
    pair = first.sample[one] * right.num_samples + second.sample[other]
    total = torch.zeros(
        left.num_samples * right.num_samples, dtype=torch.float64, device=pair.device
    )
    step = max(1, GRAM // first.values.shape[1])
    for begin in range(0, len(one), step):
        part = slice(begin, begin + step)
        product = first.values[one[part]] * second.values[other[part]]
        total.index_add_(0, pair[part], product.sum(dim=1).double())
    return total.view(left.num_samples, right.num_samples)
