"""How much would weights of the group's own size have moved?

All of dW is known, so whole bins of |W_0| are the control and nothing is sampled.
A matrix is read in row blocks; only sums per bin are kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int16, Int64, UInt8
from torch import Tensor

from driftmap.measure.drift.change import changed_rows
from driftmap.measure.drift.moments import settled_reference, state_rows
from driftmap.measure.drift.settled import Settled, row_blocks
from driftmap.signals.changes import MatrixChange
from driftmap.stats.bins import quantile_bins
from driftmap.stats.matched import BinMoments, matched_sums, null_moments

NUM_BINS = 40

NOWHERE = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BinChange:
    """|dW| by bin of |W_0| in one matrix: of all weights, of those in no group.

    Weights that were kept from moving are in neither.
    """

    whole: BinMoments
    free: BinMoments


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedReference:
    """What chance gives for the mean |dW| of weights of the group's own sizes.

    Args:
        ratio: Group sum over what the bins outside every declared group give; NaN
            where nothing moved or no bin of the group has a control.
        total: E of the sum over draws within bins.
        variance: Var of that sum.
    """

    ratio: float
    total: float
    variance: float


def bin_codes(
    weight: Float[Tensor, "row column"],
    reference: MatrixChange | None,
    declared: Sequence[Int64[np.ndarray, " _"]],
    still: Int64[np.ndarray, " _"] = NOWHERE,
) -> UInt8[np.ndarray, "row column"]:
    """Bin of |W_0| of every weight, plus `NUM_BINS` in a declared group.

    Args:
        weight: The matrix under the adapter.
        reference: What had been added at step 0; None where it was nothing.
        declared: Flat indices of each declared group.
        still: Flat indices of weights that were kept from moving, ascending: twice
            `NUM_BINS` is added there, whichever group they belong to.
    """
    shape = (weight.shape[0], weight.shape[1])
    wide = reference is not None or weight.dtype == torch.float64
    sizes = np.empty(shape, dtype=np.float64 if wide else np.float32)
    then = settled_reference(reference, weight)
    for rows in row_blocks(shape):
        sizes[rows] = state_rows(weight, then, rows).abs().numpy()
    codes = quantile_bins(sizes, NUM_BINS).astype(np.uint8)
    inside = np.zeros(codes.size, dtype=bool)
    for index in declared:
        inside[index] = True
    inside[still] = False
    codes.reshape(-1)[inside] += NUM_BINS
    codes.reshape(-1)[still] += 2 * NUM_BINS
    return codes


def bin_change(
    change: Settled,
    codes: UInt8[np.ndarray, "row column"],
    weight: Float[Tensor, "row column"] | None = None,
) -> BinChange:
    """Moments of |dW| in every bin, one row block at a time.

    Args:
        change: What `difference` returns.
        codes: What `bin_codes` gave.
        weight: The matrix under the adapter. Only DoRA needs it.
    """
    num_codes = 3 * NUM_BINS
    count = np.zeros(num_codes, dtype=np.int64)
    first, second = np.zeros(num_codes), np.zeros(num_codes)
    for rows in row_blocks((codes.shape[0], codes.shape[1])):
        moved = changed_rows(change, rows, weight).abs().numpy().reshape(-1)
        code = codes[rows].reshape(-1).astype(np.intp)
        count += np.bincount(code, minlength=num_codes)
        first += np.bincount(code, weights=moved, minlength=num_codes)
        second += np.bincount(code, weights=moved * moved, minlength=num_codes)
    sums = np.stack([count, first, second]).reshape(3, 3, NUM_BINS)[:, :2]
    return BinChange(whole=_moments(sums.sum(1)), free=_moments(sums[:, 0]))


def matched_reference(
    moved: Float64[np.ndarray, " weight"],
    bin_of: Int16[np.ndarray, " weight"],
    bins: BinChange,
) -> MatchedReference:
    """Compare a group's |dW| with weights of its own sizes in the same matrix.

    `rho = sum_S d / sum_b n_b mean(d in b outside every declared group)` over the
    bins that have such weights. For draws within whole bins `E = sum_b n_b mu_b`,
    `Var = sum_b n_b (N_b - n_b) / (N_b - 1) sigma_b^2`: a point reference and no
    test, since weights of one matrix do not move independently.

    Args:
        moved: |dW| of the group's weights.
        bin_of: Bin of |W_0| of each.
        bins: What `bin_change` gave for their matrix.
    """
    everyone = np.arange(moved.size)
    sums = matched_sums(moved, bin_of, everyone, bins.free)
    null = null_moments(bin_of, everyone, bins.whole)
    compared = sums.observed > 0 and sums.expected > 0
    return MatchedReference(
        ratio=sums.observed / sums.expected if compared else np.nan,
        total=null.mean,
        variance=null.variance,
    )


def _moments(sums: Float64[np.ndarray, "3 bin"]) -> BinMoments:
    count, first, second = sums
    some = np.maximum(count, 1)
    mean = first / some
    return BinMoments(
        count=count.astype(np.int64),
        mean=mean,
        variance=np.maximum(0, second / some - mean**2),
    )
