"""What do banks of experts show of each sample's gradient, expert by expert?

An expert's signal comes in two: of the samples that sent it no token, which has no
pieces, and of those that did.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.capture.bank_turns import BankTurns
from driftmap.capture.expert_visits import Visits, require_finite_rows, visits_of
from driftmap.core.places import RowBlocks
from driftmap.families.expert_forward import BankCall
from driftmap.families.expert_switch import running_experts
from driftmap.families.grouped_maps import ExpertRows
from driftmap.families.tensors import TensorRule, TensorSlice, slice_shape
from driftmap.signals.batch import Batch
from driftmap.signals.gradients import (
    GradientPiece,
    OuterProducts,
    TakeGradients,
    TensorSignal,
    WholeGradients,
)


class BankGradients:
    """Turns what banks show into signals.

    Args:
        model: The model that the rules were found in.
        rules: What to listen for, of kinds `expert` and `expert_bias`.
        take: Takes each signal, during the backward.
    """

    def __init__(
        self, model: nn.Module, rules: Sequence[TensorRule], take: TakeGradients
    ) -> None:
        self._model = model
        self._take = take
        self._slices: dict[str, dict[str, list[tuple[TensorRule, TensorSlice]]]] = {}
        for rule in rules:
            path = rule.uses[0].path
            name = rule.name.removeprefix(f"{path}.").removesuffix("_bias")
            of_map = self._slices.setdefault(path, {}).setdefault(name, [])
            of_map += [(rule, one) for one in rule.slices]
        self._batch: Batch | None = None
        self._turns = BankTurns(self._slices)
        self._last_key = 0

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Have the banks run on sorted rows for as long as the block runs."""
        calls = {path: partial(self._call, path) for path in self._slices}
        with running_experts(self._model, calls):
            yield

    def begin(self, batch: Batch) -> None:
        """Make ready for a batch."""
        self._batch = batch
        self._turns.begin()

    def finish(self) -> None:
        """Require that every bank has shown both of its maps.

        Raises:
            MeasureError: One ran by another way than ours, or no gradient came back.
        """
        self._turns.finish()
        self._batch = None

    def _call(self, path: str) -> BankCall:
        if self._batch is None:  # a run that no one measures
            return BankCall()
        self._turns.run(path, may_repeat=True)
        return BankCall(
            receive=partial(self._receive, path), kept=self._batch.real.flatten()
        )

    def _receive(
        self, path: str, name: str, inputs: Tensor, gradients: Tensor, rows: ExpertRows
    ) -> None:
        batch = self._batch
        assert batch is not None
        self._turns.show(path)
        for values, what in ((inputs, "input"), (gradients, "gradient")):
            require_finite_rows(values, rows, batch.sample_ids, path, what)
        wanted: dict[int, list[tuple[TensorRule, TensorSlice]]] = {}
        for rule, one in self._slices[path].get(name, ()):
            assert one.expert is not None
            wanted.setdefault(one.expert, []).append((rule, one))
        for visits in visits_of(rows, len(batch.sample_ids)):
            if visits.expert in wanted:
                self._send(wanted[visits.expert], visits, inputs, gradients)

    def _send(
        self,
        wanted: Sequence[tuple[TensorRule, TensorSlice]],
        visits: Visits,
        inputs: Tensor,
        gradients: Tensor,
    ) -> None:
        batch = self._batch
        assert batch is not None
        others = sorted(set(range(len(batch.sample_ids))) - set(visits.samples))
        for rule, one in wanted if others else ():
            self._emit(rule, one, others, ())
        if not visits.samples:
            return
        self._last_key -= 1  # keys of maps outside banks are above 0
        entered = visits.by_sample(inputs.detach())
        left = visits.by_sample(gradients.detach())
        for rule, one in wanted:
            piece: GradientPiece
            if rule.kind == "expert_bias":
                piece = _summed(left)
            else:
                piece = OuterProducts(
                    inputs=entered,
                    gradients=cut_rows(left, one.rows),
                    inputs_key=self._last_key,
                )
            self._emit(rule, one, visits.samples, (piece,))

    def _emit(
        self,
        rule: TensorRule,
        one: TensorSlice,
        samples: Sequence[int],
        pieces: tuple[GradientPiece, ...],
    ) -> None:
        batch = self._batch
        assert batch is not None
        self._take(
            TensorSignal(
                tensor=one.place,
                shape=slice_shape(rule, one),
                sample_ids=tuple(batch.sample_ids[sample] for sample in samples),
                sample_index=tuple(batch.sample_index[sample] for sample in samples),
                pieces=pieces,
            )
        )


def cut_rows(gradients: Tensor, rows: RowBlocks | None) -> Tensor:
    """Take what stands at some output units, along the last axis."""
    if rows is None:
        return gradients
    if rows.count == 1:
        return gradients.narrow(-1, rows.start, rows.length)
    return gradients[..., torch.tensor(rows.rows(), device=gradients.device)]


def _summed(terms: Float[Tensor, "sample token unit"]) -> WholeGradients:
    """A bias's gradient, with what tells rounding noise from it."""
    dtype = torch.promote_types(terms.dtype, torch.float32)
    squares = terms.square().sum(dim=(1, 2), dtype=torch.float64)
    count = (terms != 0).any(dim=2).sum(dim=1).to(squares)
    return WholeGradients(
        values=terms.sum(dim=1, dtype=torch.float64).to(dtype),
        summed_squares=count * squares,
    )
