"""What does a pass over samples show of each sample's own gradient, tensor by tensor?

No gradient of a parameter is ever made. A sample's gradient of a tensor comes as the
factors that it is a sum of products of, and whoever takes them decides whether the
products are formed. Several pieces add up: a map that runs twice, an embedding that is
the head as well.
"""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from driftmap.core.places import TensorPlace


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OuterProducts:
    """A linear map's share: sample s adds `sum_t G[s, t]^T X[s, t]`, as `[out in]`.

    Args:
        inputs: X, what entered the map; zero at padding. The token axis may hold only
            the tokens that matter, as at the head.
        gradients: G, the gradient of the sample's own mean loss at the outputs.
        inputs_key: Equal for pieces of one batch whose X is one and the same tensor
            (q, k and v of a layer), so that what is made of X may be made once.
    """

    inputs: Float[Tensor, "sample token in"]
    gradients: Float[Tensor, "sample token out"]
    inputs_key: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LookedUpRows:
    """A table's share: sample s adds `scale * E[s, t]` to row `ids[s, t]`.

    Args:
        ids: Rows that were looked up (token ids, or positions).
        gradients: E, the gradient at what the table gave.
        counted: False where nothing is added: at padding, and at the table's own
            `padding_idx`.
        scale: What the table multiplies its rows by before it gives them.
    """

    ids: Int[Tensor, "sample token"]
    gradients: Float[Tensor, "sample token width"]
    counted: Bool[Tensor, "sample token"]
    scale: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WholeGradients:
    """Gradients that are made at once, being small: of biases, norms and the like.

    Args:
        values: Every sample's gradient, flat.
        summed_squares: Number of summed terms times the sum of their squares, by
            which rounding noise is told from a gradient.
    """

    values: Float[Tensor, "sample weight"]
    summed_squares: Float64[Tensor, " sample"]


GradientPiece = OuterProducts | LookedUpRows | WholeGradients


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TensorSignal:
    """All that one batch shows of its samples' gradients of one tensor.

    Args:
        tensor: Which tensor.
        shape: `[out in]` of a matrix, however the model stores it; `[row width]` of a
            table; `[weight]` of a vector.
        sample_ids: One id per sample of the batch.
        sample_index: Number of each sample in its whole set.
        pieces: What adds up to the gradient.
    """

    tensor: TensorPlace
    shape: tuple[int, ...]
    sample_ids: tuple[str, ...]
    sample_index: tuple[int, ...]
    pieces: tuple[GradientPiece, ...]


TakeGradients = Callable[[TensorSignal], None]
"""Takes each signal as soon as it is complete."""
