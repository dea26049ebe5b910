"""How much does a behaviour's loss depend on each single weight?

SNIP (Lee et al. 2019; per sample as in Wei et al. 2024, section 3.1):
`|W_ij| * 1/N * sum_n |G_n,ij|` with `G_n = sum_t D_nt^T X_nt`. The absolute
value is taken per sample, before the sum over samples; `batch` takes it after the
sum, which is another measure. Nothing but the inputs X and the output gradients D
of a map is needed, so that one pass over the data scores all matrices.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.signals.fold import Fold, SiteSignal
from driftmap.signals.scores import HalfScores, Scores, WeightOf

Factor = Literal["weight", "difference", "none"]

# Product, absolute value and sum of one block of rows stay in the cache of a
# core; an accelerator wants few large products instead.
_WORKSPACE_BYTES = {"cpu": 2 << 20}
_ACCELERATOR_WORKSPACE_BYTES = 256 << 20


@dataclass(slots=True, eq=False)
class GradientSums:
    """Sum over samples of the gradient of one matrix, or of its size.

    Args:
        total: The sum; None as long as no product was added.
        num_samples: Samples seen, also those that never reached the matrix.
    """

    total: Float32[Tensor, "row column"] | None = None
    num_samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SnipKind:
    """Which of the SNIP scores is meant.

    Args:
        factor: What the gradient is multiplied by: `weight` for |W|, `difference`
            for |W - W_base|, `none` for 1.
        base: Gives W_base for `difference`.
        batch: Take the size of the mean gradient in place of the mean size.
    """

    factor: Factor = "weight"
    base: WeightOf | None = None
    batch: bool = False

    def __post_init__(self) -> None:
        """Refuse a difference to nothing."""
        assert (self.factor == "difference") == (self.base is not None), self.factor


SNIP = SnipKind()
SNIP_BATCH = SnipKind(batch=True)


class Snip(Fold[GradientSums, Scores]):
    """Score of every weight, one float32 matrix per site.

    Args:
        weight: Gives the scored matrix W, `[row column]`; asked once per site,
            at the end.
        kind: Which of the SNIP scores; the one of Wei et al. by default.
    """

    needs_backward = True

    def __init__(self, weight: WeightOf, kind: SnipKind = SNIP) -> None:
        self._weight = weight
        self._kind = kind

    def num_bytes(self, site: Site) -> int:
        """Memory of one float32 accumulator."""
        return 4 * site.num_weights

    def start(self, site: Site) -> GradientSums:
        """No sample yet; the accumulator is made where the signals live."""
        return GradientSums()

    def update(self, state: GradientSums, signal: SiteSignal) -> GradientSums:
        """Add the gradient of every sample of a batch, or its size."""
        rows = range(len(signal.sample_index))
        return _add(state, signal, rows, self._kind)

    def merge(self, left: GradientSums, right: GradientSums) -> GradientSums:
        """Add the sums of disjoint samples."""
        return _joined(left, right)

    def result(self, states: Mapping[Site, GradientSums]) -> Scores:
        """Turn the sums into scores on the CPU, in place: the states are spent.

        Raises:
            MeasureError: A site has seen no sample, or its state was spent.
        """
        scores: Scores = {}
        for site, state in states.items():
            scale = _scale(self._weight, self._kind, site, state.num_samples)
            scores[site] = _scaled(site, state, *scale).abs_()
        return scores


class SnipHalves(Fold[tuple[GradientSums, GradientSums], dict[Site, HalfScores]]):
    """As `Snip`, kept apart by even and odd samples, for twice the memory.

    What two halves of the data select alike is the ceiling for any overlap of
    selections (the noise that N samples leave).
    """

    needs_backward = True

    def __init__(self, weight: WeightOf, kind: SnipKind = SNIP) -> None:
        self._weight = weight
        self._kind = kind

    def num_bytes(self, site: Site) -> int:
        """Memory of two float32 accumulators."""
        return 8 * site.num_weights

    def start(self, site: Site) -> tuple[GradientSums, GradientSums]:
        """No sample in either half."""
        return GradientSums(), GradientSums()

    def update(
        self, state: tuple[GradientSums, GradientSums], signal: SiteSignal
    ) -> tuple[GradientSums, GradientSums]:
        """Add every sample to the half that its index says."""
        for parity, half in enumerate(state):
            rows = [r for r, i in enumerate(signal.sample_index) if i % 2 == parity]
            _add(half, signal, rows, self._kind)
        return state

    def merge(
        self,
        left: tuple[GradientSums, GradientSums],
        right: tuple[GradientSums, GradientSums],
    ) -> tuple[GradientSums, GradientSums]:
        """Add the sums of disjoint samples, half by half."""
        return _joined(left[0], right[0]), _joined(left[1], right[1])

    def result(
        self, states: Mapping[Site, tuple[GradientSums, GradientSums]]
    ) -> dict[Site, HalfScores]:
        """Turn the sums into parts of the score on the CPU; the states are spent.

        Raises:
            MeasureError: A site has seen no sample, or its state was spent.
        """
        scores: dict[Site, HalfScores] = {}
        for site, (even, odd) in states.items():
            num_samples = even.num_samples + odd.num_samples
            scale = _scale(self._weight, self._kind, site, num_samples)
            scores[site] = HalfScores(
                even=_scaled(site, even, *scale), odd=_scaled(site, odd, *scale)
            )
        return scores


@torch.no_grad()
def add_absolute_products(
    total: Float32[Tensor, "row column"],
    output_gradients: Float[Tensor, "sample token row"],
    inputs: Float[Tensor, "sample token column"],
) -> None:
    """Add `|D_n^T X_n|` of every sample to `total`, in float32.

    Args:
        total: The accumulator, changed in place.
        output_gradients: D, any float dtype.
        inputs: X, any float dtype.

    >>> total = torch.zeros(1, 2)
    >>> D = torch.tensor([[[1.0], [1.0]], [[2.0], [0.0]]])
    >>> X = torch.tensor([[[1.0, -5.0], [3.0, 1.0]], [[-1.0, 0.5], [9.0, 9.0]]])
    >>> add_absolute_products(total, D, X)
    >>> total
    tensor([[6., 5.]])
    """
    D, X = output_gradients.float(), inputs.float()
    for rows in _row_blocks(total):
        block = total[rows]
        product = torch.empty_like(block)
        for D_n, X_n in zip(D, X, strict=True):
            torch.mm(D_n[:, rows].T, X_n, out=product)
            block.add_(product.abs_())


def _row_blocks(total: Tensor) -> Iterator[slice]:
    kind = total.device.type
    num_bytes = _WORKSPACE_BYTES.get(kind, _ACCELERATOR_WORKSPACE_BYTES)
    height = max(1, num_bytes // (4 * total.shape[1]))
    for start in range(0, total.shape[0], height):
        yield slice(start, min(start + height, total.shape[0]))


@torch.no_grad()
def add_products(
    total: Float32[Tensor, "row column"],
    output_gradients: Float[Tensor, "sample token row"],
    inputs: Float[Tensor, "sample token column"],
) -> None:
    """Add `sum_n D_n^T X_n` to `total`, with its sign, in float32.

    Args:
        total: The accumulator, changed in place.
        output_gradients: D, any float dtype.
        inputs: X, any float dtype.
    """
    D, X = output_gradients.float(), inputs.float()
    total.addmm_(D.flatten(0, 1).T, X.flatten(0, 1))


def _add(
    state: GradientSums,
    signal: SiteSignal,
    rows: range | list[int],
    kind: SnipKind,
) -> GradientSums:
    state.num_samples += len(rows)
    if not signal.calls or not rows:
        return state
    D = _joined_calls([_gradients(call.output_gradients) for call in signal.calls])
    X = _joined_calls([call.inputs for call in signal.calls])
    if len(rows) < len(X):
        D, X = D[rows], X[rows]
    if state.total is None:
        state.total = torch.zeros(
            signal.site.shape, dtype=torch.float32, device=X.device
        )
    add = add_products if kind.batch else add_absolute_products
    add(state.total, D, X)
    return state


def _gradients(output_gradients: Tensor | None) -> Tensor:
    assert output_gradients is not None, "SNIP needs a pass with backward"
    return output_gradients


def _joined_calls(tensors: list[Tensor]) -> Tensor:
    """Calls side by side along the tokens: their products add before `|.|`."""
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=1)


def _joined(left: GradientSums, right: GradientSums) -> GradientSums:
    if left.total is None or right.total is None:
        total = right.total if left.total is None else left.total
    else:
        total = left.total + right.total.to(left.total.device)
    return GradientSums(total=total, num_samples=left.num_samples + right.num_samples)


def _scale(
    weight: WeightOf, kind: SnipKind, site: Site, num_samples: int
) -> tuple[Tensor | None, int]:
    if num_samples == 0:
        raise MeasureError(
            f"{site.key}: no sample was scored, or its scores were taken already"
        )
    if kind.factor == "none":
        return None, num_samples
    W = weight(site).detach().float()
    if kind.base is not None:
        W = W - kind.base(site).detach().float().to(W.device)
    return W.abs(), num_samples


def _scaled(
    site: Site, state: GradientSums, magnitude: Tensor | None, num_samples: int
) -> Tensor:
    total = state.total
    state.total, state.num_samples = None, 0
    if total is None:
        return torch.zeros(site.shape)
    if magnitude is not None:
        total.mul_(magnitude.to(total.device))
    return total.div_(num_samples).cpu()
