"""What is kept of each sample's gradient when it is too large to keep whole?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64

from driftmap.core.errors import UsageError
from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import PairProducts

SketchKind = Literal["fold", "two-sided", "legacy"]

LARGEST = 2**14
"""Numbers per tensor that a sketch may have at most (legacy sizes may be larger)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchSettings:
    """How gradients are made short; equal settings give comparable rows.

    Args:
        kind: `fold`: signs and sums, the least error for its size. `two-sided`: the
            factors are projected, the gradient is never formed. `legacy`: a size per
            tensor by its number of weights.
        size: Numbers kept per tensor, a power of two (`legacy` has sizes of its own).
        seed: What signs, orders and projections are drawn from.
        share: Numbers kept, as a share of all weights; only for `legacy`.

    Raises:
        UsageError: The size is no power of two from 4 to 16,384, or the share lies
            outside 0 to 1.
    """

    kind: SketchKind = "fold"
    size: int = 1024
    seed: int = 0
    share: float = 0.01

    def __post_init__(self) -> None:
        if not 4 <= self.size <= LARGEST or self.size & (self.size - 1):
            raise UsageError(
                "the size of a projection is a power of two from 4 to "
                f"{LARGEST}, not {self.size}"
            )
        if not 0 < self.share < 1:
            raise UsageError(
                f"the share of a legacy projection lies between 0 and 1, "
                f"not at {self.share}"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SketchedSamples:
    """Sketches of the gradients of many samples, with the exact energies.

    Inner products of rows of two samples estimate their cosine in a tensor without
    bias; times `sqrt(energy * energy)` they estimate D. The first half of a row's
    numbers and the second are independent sketches of the same gradient: each gives
    half of the estimate, and their difference tells its error.

    Args:
        sample_ids: One id per sample.
        tensors: Where.
        rows: Per tensor, the sketch of each sample's gradient divided by the
            gradient's own length; zero where it has no direction. A tensor with no
            more weights than its row has numbers holds the gradient itself.
        energies: Exact squared length of each gradient; 0 where it has no direction.
        settings: How the rows were made.
    """

    sample_ids: tuple[str, ...]
    tensors: tuple[TensorPlace, ...]
    rows: tuple[Float32[np.ndarray, "sample _"], ...]
    energies: Float64[np.ndarray, "sample tensor"]
    settings: SketchSettings

    def is_exact(self, tensor_index: int) -> bool:
        """Whether the rows of a tensor hold the gradient itself."""
        tensor = self.tensors[tensor_index]
        return tensor.num_weights == self.rows[tensor_index].shape[1]

    @property
    def num_numbers(self) -> tuple[int, ...]:
        """Numbers that a row has, per tensor."""
        return tuple(rows.shape[1] for rows in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SketchedProducts:
    """Inner products of queries with originals, estimated from sketches.

    Args:
        products: D as estimated, unbiased, beside the exact energies.
        difference: How far the estimates of the two halves lie apart, `x1 - x2`; its
            half is the standard error of D. 0 where a row holds the gradient itself.
        query_length: Squared length of each query's sketch, where `query_energy` is
            that of its gradient.
        original_length: The same of each original.
        num_numbers: Numbers kept per tensor and sample.
        is_exact: Per tensor, whether its D is no estimate.
        weights: Weight of each tensor in sums over tensors: 1, but for `legacy`.
    """

    products: PairProducts
    difference: Float64[np.ndarray, "query candidate tensor"]
    query_length: Float64[np.ndarray, "query tensor"]
    original_length: Float64[np.ndarray, "original tensor"]
    num_numbers: tuple[int, ...]
    is_exact: tuple[bool, ...]
    weights: Float64[np.ndarray, " tensor"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SketchedCosines:
    """Three estimates of the same cosines; NaN where there is no pair or direction.

    Args:
        plain: Inner product of the sketches over the gradients' exact lengths;
            unbiased.
        normed: Over the sketches' own lengths.
        margin: The most likely cosine given both; what is shown.
        told_error: Standard error of `plain`, as the two halves of this pair tell it.
    """

    plain: Float64[np.ndarray, "query candidate"]
    normed: Float64[np.ndarray, "query candidate"]
    margin: Float64[np.ndarray, "query candidate"]
    told_error: Float64[np.ndarray, "query candidate"]
