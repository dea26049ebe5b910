"""Which states stand where in a run that has one cell put back?"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from driftmap.capture.patching.base_pass import BasePass
from driftmap.core.errors import MeasureError
from driftmap.results.trace_kinds import TraceKind
from driftmap.signals.traces import Restoring


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Put:
    """A state that a module gives at one token, whatever it computed.

    Args:
        path: The module.
        values: One row for all draws, or one per draw.
        dims: First coordinate and one past the last; None for all.
    """

    path: str
    values: Float[Tensor, "row width"]
    dims: tuple[int, int] | None = None


@dataclass(slots=True)
class Changes:
    """Whether putting states back changed anything.

    Args:
        any: It did, at some place.
        first: The first module that was tried.
    """

    any: bool = False
    first: str = ""

    def put(
        self, states: Tensor, token: int, put: Put, rows: Tensor | None = None
    ) -> Tensor:
        """Put states `[row width]` at one token into others `[row token width]`.

        Args:
            states: Those of every row; not changed.
            token: Where.
            put: What stands there then.
            rows: Numbers of the rows that it is put into; None for all.
        """
        self.first = self.first or put.path
        changed = states.clone()
        start, end = put.dims or (0, states.shape[-1])
        chosen = slice(None) if rows is None else rows
        before = changed[chosen, token, start:end]
        values = put.values[..., start:end].to(states)
        values = values.repeat(len(before) // len(values), 1)
        self.any = self.any or not torch.equal(before, values)
        changed[chosen, token, start:end] = values
        return changed

    def require(self, effect: float, size: float) -> None:
        """Refuse a grid that never changed anything, though the corruption did.

        Args:
            effect: TE.
            size: Of the outcomes it is the difference of.

        Raises:
            MeasureError: Names the module.
        """
        if self.first and not self.any and abs(effect) > 1e-3 * size:
            raise MeasureError(
                f"{self.first}: putting clean states back changed nothing here or in "
                f"any other layer, though the corruption moves the outcome by "
                f"{effect:.3g}; does the model use what this module returns?"
            )


def puts_of_cell(
    base: BasePass, restoring: Restoring, token: int, layers: range
) -> Iterator[Put]:
    """All that stands in for what is computed in the run of one cell.

    Args:
        base: Clean and corrupted states.
        restoring: What is put back.
        token: Where.
        layers: In which layers.
    """
    if restoring.kind.startswith("severed"):
        for path in base.traced.places(restoring.kind).values():
            yield Put(path=path, values=base.corrupted(path, token))
    places = base.traced.places(restored_kind(restoring.kind))
    for layer in layers:
        if layer in places:
            path = places[layer]
            yield Put(path=path, values=base.clean(path, token), dims=restoring.dims)


def restored_kind(kind: TraceKind) -> TraceKind:
    """Of which modules clean states are put back: severed runs restore blocks."""
    return "hidden" if kind.startswith("severed") else kind
