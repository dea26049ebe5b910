"""What is kept of a batch's gradient of one tensor where it is never formed?

The pieces of a signal are joined: calls of one map lie one after the other along the
token axis, and rows of a table that one sample looked up more than once are added.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from driftmap.signals.assembled import TouchedRows, touched_rows, widened
from driftmap.signals.gradients import (
    LookedUpRows,
    OuterProducts,
    TensorSignal,
    WholeGradients,
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outer:
    """`G^T X` of every sample, not formed."""

    inputs: Float[Tensor, "sample token in"]
    gradients: Float[Tensor, "sample token out"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Factors:
    """A sum of products and of rows looked up; None where there are none."""

    num_samples: int
    outer: Outer | None = None
    rows: TouchedRows | None = None

    @property
    def num_tokens(self) -> int:
        """Length of the token axis; 0 where only rows were looked up."""
        return 0 if self.outer is None else self.outer.inputs.shape[1]

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All that is held."""
        outer, rows = self.outer, self.rows
        found = (outer.inputs, outer.gradients) if outer else ()
        return found + ((rows.values, rows.row, rows.sample) if rows else ())

    def of(self, samples: Int64[np.ndarray, " sample"]) -> "Factors":
        """Factors of some samples, in their own order; a view where they adjoin."""
        if len(samples) == self.num_samples and (np.diff(samples) == 1).all():
            return self
        outer, rows = self.outer, self.rows
        return Factors(
            num_samples=len(samples),
            outer=outer
            and Outer(
                inputs=outer.inputs[_as_index(samples, outer.inputs)],
                gradients=outer.gradients[_as_index(samples, outer.gradients)],
            ),
            rows=rows and _rows_of(rows, samples, self.num_samples),
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
            found = widened(piece.inputs.detach()).contiguous()
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
    """Join the pieces of a signal, none of which is a gradient already.

    Args:
        signal: All that a batch shows of one tensor.
        newest: Remembers the inputs of the piece before.
    """
    assert not has_whole(signal), "a gradient that is made is kept as it is"
    outer = [piece for piece in signal.pieces if isinstance(piece, OuterProducts)]
    rows = any(isinstance(piece, LookedUpRows) for piece in signal.pieces)
    return Factors(
        num_samples=len(signal.sample_ids),
        outer=_joined(outer, newest) if outer else None,
        rows=touched_rows(signal) if rows else None,
    )


def has_whole(signal: TensorSignal) -> bool:
    """Whether a part of the gradient comes formed."""
    return any(isinstance(piece, WholeGradients) for piece in signal.pieces)


def _joined(pieces: Sequence[OuterProducts], newest: NewestInputs) -> Outer:
    if len(pieces) == 1:
        inputs, gradients = newest.converted(pieces[0]), pieces[0].gradients.detach()
    else:
        inputs = widened(torch.cat([p.inputs.detach() for p in pieces], dim=1))
        gradients = torch.cat([p.gradients.detach() for p in pieces], dim=1)
    return Outer(inputs=inputs, gradients=widened(gradients).contiguous())


def _as_index(samples: Int64[np.ndarray, " sample"], like: Tensor) -> slice | Tensor:
    if len(samples) and (np.diff(samples) == 1).all():
        return slice(int(samples[0]), int(samples[-1]) + 1)
    return torch.from_numpy(samples).to(like.device)


def _rows_of(
    rows: TouchedRows, samples: Int64[np.ndarray, " sample"], num_samples: int
) -> TouchedRows:
    owners = rows.sample.cpu().numpy()
    ends = np.searchsorted(owners, np.arange(num_samples + 1))
    spans = [np.arange(*ends[sample : sample + 2].tolist()) for sample in samples]
    new = np.repeat(np.arange(len(samples)), [len(span) for span in spans])
    entry = _as_index(np.concatenate([*spans, ends[:0]]), rows.values)
    return TouchedRows(
        sample=torch.from_numpy(new).to(rows.sample.device),
        row=rows.row[entry],
        values=rows.values[entry],
    )
