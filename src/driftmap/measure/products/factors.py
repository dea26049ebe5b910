"""What is a batch's gradient of one tensor, before any product is formed?

The pieces of a signal are joined here: calls of one map lie one after the other along
the token axis, and rows of a table that one sample looked up more than once are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64, Int, Int64
from torch import Tensor

from driftmap.measure.products.pieces import computing_dtype, square_sums
from driftmap.signals.gradients import (
    LookedUpRows,
    OuterProducts,
    TensorSignal,
    WholeGradients,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outer:
    """`G^T X` of every sample, not yet formed."""

    inputs: Float[Tensor, "sample token in"]
    gradients: Float[Tensor, "sample token out"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows of a table, each once per sample, by sample and then by row.

    Args:
        sample: Number within the batch.
        row: Row of the table.
        values: What the sample adds there.
    """

    sample: Int[Tensor, " entry"]
    row: Int[Tensor, " entry"]
    values: Float[Tensor, "entry width"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factors:
    """A sum of what each kind of piece gives; None where there is no such piece.

    Args:
        shape: Rows and columns; a vector has columns of one number.
        num_samples: Samples of the batch.
        squares: Sum over pieces of `sum X^2 * sum G^2`, by which rounding noise is
            told from a gradient.
    """

    shape: tuple[int, int]
    num_samples: int
    squares: Float64[Tensor, " sample"]
    outer: Outer | None = None
    rows: Rows | None = None
    whole: Float[Tensor, "sample weight"] | None = None

    @property
    def device(self) -> torch.device:
        """Where the numbers lie."""
        return self.squares.device

    @property
    def dtype(self) -> torch.dtype:
        """What products are taken in."""
        for held in (self.outer and self.outer.inputs, self.whole):
            if held is not None:
                return held.dtype
        return torch.float32 if self.rows is None else self.rows.values.dtype

    @property
    def num_tokens(self) -> int:
        """Length of the token axis; the rows looked up per sample where there is none.

        Padding counts as well.
        """
        if self.outer is not None:
            return self.outer.inputs.shape[1]
        return 0 if self.rows is None else -(-len(self.rows.row) // self.num_samples)

    def of(self, samples: Int64[np.ndarray, " sample"]) -> "Factors":
        """Factors of some samples, in their own order; a view where they adjoin."""
        if len(samples) == self.num_samples and (np.diff(samples) == 1).all():
            return self
        chosen = _as_index(samples, self.device)
        outer, rows, whole = self.outer, self.rows, self.whole
        return replace(
            self,
            num_samples=len(samples),
            squares=self.squares[chosen],
            outer=outer
            and Outer(inputs=outer.inputs[chosen], gradients=outer.gradients[chosen]),
            rows=rows and _rows_of(rows, samples, self.num_samples),
            whole=None if whole is None else whole[chosen],
        )


class NewestInputs:
    """Gives one tensor for pieces that share their inputs: q, k and v.

    What is made of it can then be found again.
    """

    def __init__(self) -> None:
        self._raw: Tensor | None = None
        self._key = 0
        self._converted: Tensor | None = None

    def converted(self, piece: OuterProducts) -> Tensor:
        """Inputs of a piece in the dtype of products."""
        raw, found = self._raw, self._converted
        if raw is None or found is None or not self._is_same(raw, piece):
            wide = computing_dtype(piece.inputs.dtype)
            found = piece.inputs.detach().to(wide).contiguous()
            self._raw, self._key = piece.inputs, piece.inputs_key
            self._converted = found
        return found

    def _is_same(self, raw: Tensor, piece: OuterProducts) -> bool:
        """Held, so no other tensor can have come to lie at its place."""
        return (
            self._key == piece.inputs_key
            and raw.data_ptr() == piece.inputs.data_ptr()
            and raw.shape == piece.inputs.shape
            and raw.stride() == piece.inputs.stride()
        )


def factors_of(signal: TensorSignal, newest: NewestInputs) -> Factors:
    """Join the pieces of a signal.

    Args:
        signal: All that a batch shows of one tensor.
        newest: Remembers the inputs of the piece before.
    """
    outer = [p for p in signal.pieces if isinstance(p, OuterProducts)]
    rows = [p for p in signal.pieces if isinstance(p, LookedUpRows)]
    whole = [p for p in signal.pieces if isinstance(p, WholeGradients)]
    squares = [_outer_squares(p) for p in outer]
    squares += [_row_squares(p) for p in rows]
    squares += [p.summed_squares for p in whole]
    num_samples = len(signal.sample_ids)
    height, *width = signal.shape
    return Factors(
        shape=(height, width[0] if width else 1),
        num_samples=num_samples,
        squares=torch.stack(squares).sum(dim=0)
        if squares
        else torch.zeros(num_samples, dtype=torch.float64),
        outer=_joined(outer, newest) if outer else None,
        rows=_added(rows, num_samples) if rows else None,
        whole=_summed(whole) if whole else None,
    )


def _joined(pieces: Sequence[OuterProducts], newest: NewestInputs) -> Outer:
    if len(pieces) == 1:
        inputs, gradients = newest.converted(pieces[0]), pieces[0].gradients.detach()
    else:
        inputs = torch.cat([p.inputs.detach() for p in pieces], dim=1)
        gradients = torch.cat([p.gradients.detach() for p in pieces], dim=1)
    wide = computing_dtype(torch.promote_types(inputs.dtype, gradients.dtype))
    return Outer(inputs=inputs.to(wide), gradients=gradients.to(wide).contiguous())


def _added(pieces: Sequence[LookedUpRows], num_samples: int) -> Rows:
    """Add what one sample gives to one row; padding and the like is left out."""
    owner, row, values = [], [], []
    for piece in pieces:
        sample, token = piece.counted.nonzero(as_tuple=True)
        wide = computing_dtype(piece.gradients.dtype)
        owner.append(sample)
        row.append(piece.ids[sample, token].long())
        values.append(piece.gradients[sample, token].detach().to(wide) * piece.scale)
    rows, found = torch.cat(row), torch.cat(values)
    height = int(rows.max()) + 1 if len(rows) else 1
    place = torch.cat(owner) * height + rows
    places, home = place.unique(return_inverse=True)
    added = found.new_zeros(len(places), found.shape[1]).index_add_(0, home, found)
    return Rows(sample=places // height, row=places % height, values=added)


def _summed(pieces: Sequence[WholeGradients]) -> Float[Tensor, "sample weight"]:
    values = [p.values.detach().flatten(start_dim=1) for p in pieces]
    wide = computing_dtype(values[0].dtype)
    return torch.stack([v.to(wide) for v in values]).sum(dim=0)


def _outer_squares(piece: OuterProducts) -> Float64[Tensor, " sample"]:
    wide = computing_dtype(piece.inputs.dtype)
    return square_sums(piece.inputs.to(wide)) * square_sums(piece.gradients.to(wide))


def _row_squares(piece: LookedUpRows) -> Float64[Tensor, " sample"]:
    wide = computing_dtype(piece.gradients.dtype)
    counted = piece.gradients.to(wide) * piece.counted[:, :, None]
    return square_sums(counted) * piece.scale**2 * piece.counted.sum(dim=1)


def _as_index(
    samples: Int64[np.ndarray, " sample"], device: torch.device
) -> slice | Tensor:
    if len(samples) and (np.diff(samples) == 1).all():
        return slice(int(samples[0]), int(samples[-1]) + 1)
    return torch.from_numpy(samples).to(device)


def _rows_of(
    rows: Rows, samples: Int64[np.ndarray, " sample"], num_samples: int
) -> Rows:
    owners = rows.sample.cpu().numpy()
    ends = np.searchsorted(owners, np.arange(num_samples + 1))
    spans = [np.arange(*ends[sample : sample + 2].tolist()) for sample in samples]
    new = np.repeat(np.arange(len(samples)), [len(span) for span in spans])
    device = rows.sample.device
    entry = _as_index(np.concatenate([*spans, ends[:0]]), device)
    return Rows(
        sample=torch.from_numpy(new).to(device),
        row=rows.row[entry],
        values=rows.values[entry],
    )
