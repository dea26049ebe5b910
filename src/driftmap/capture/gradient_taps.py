"""What do the users of a model's parameters show while one batch runs through it?

Maps and norms are tapped as in `taps`; a table's look-up is where the graph begins. A
signal goes out as soon as all executions that a parameter has in the batch are back.
"""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn

from driftmap.capture.cleaning import clean, require_finite
from driftmap.capture.gradient_banks import BankGradients, cut_rows
from driftmap.capture.gradient_users import User, embedding_user, users_of
from driftmap.capture.lookups import leaf, watching_lookups
from driftmap.capture.taps import tap
from driftmap.capture.watched_maps import WatchedMap, watching_maps
from driftmap.core.errors import MeasureError
from driftmap.core.places import RowBlocks
from driftmap.families.modules import base_module
from driftmap.families.tensors import TensorRule, slice_shape
from driftmap.signals.batch import Batch
from driftmap.signals.gradients import (
    GradientPiece,
    LookedUpRows,
    OuterProducts,
    TakeGradients,
    TensorSignal,
    WholeGradients,
)

_OF_BANKS = ("expert", "expert_bias")


@dataclass(slots=True, eq=False)
class _Sums:
    """Gradients that are made at once, so far."""

    values: Float64[Tensor, "sample weight"]
    squares: Float64[Tensor, " sample"]
    terms: Float64[Tensor, " sample"]
    dtype: torch.dtype


@dataclass(slots=True, eq=False)
class _Gathered:
    """What of one parameter has come in."""

    expected: int = 0
    received: int = 0
    products: list[OuterProducts] = field(default_factory=list)
    rows: list[LookedUpRows] = field(default_factory=list)
    sums: _Sums | None = None


class GradientTaps:
    """Turns what users of parameters show into signals.

    Args:
        model: The model that the rules were found in.
        rules: What to listen for; those of kind `other` are not heard here.
        take: Takes each signal, during the backward.
        head: The map that sees labelled tokens alone.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: Sequence[TensorRule],
        take: TakeGradients,
        *,
        head: nn.Module,
    ) -> None:
        self._rules = tuple(rules)
        self._take = take
        users = tuple(users_of(model, self._rules))
        tables = [user for user in users if user.kind == "table"]
        begin = embedding_user(model)
        if begin.module not in [user.module for user in tables]:
            tables.append(begin)
        self._tables = tuple(tables)
        self._users = tuple(user for user in users if user.kind != "table")
        banks = [rule for rule in self._rules if rule.kind in _OF_BANKS]
        self._banks = BankGradients(model, banks, take) if banks else None
        self._head = base_module(head)
        self._batch: Batch | None = None
        self._used: Bool[Tensor, "sample label"] | None = None
        self._forward = False
        self._gathered: dict[int, _Gathered] = {}
        self._seen: set[int] = set()
        self._keys = _InputKeys()
        self._clean_inputs: tuple[int, Tensor] | None = None

    @property
    def maps(self) -> tuple[WatchedMap, ...]:
        """Maps and norms that are tapped."""
        return tuple(
            WatchedMap(module=user.module, weight=user.own_weight)
            for user in self._users
        )

    def name(self, index: int) -> str:
        """Path of one of `maps`."""
        return self._users[index].path

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen for as long as the block runs."""
        tables = [user.module for user in self._tables]
        with ExitStack() as stack:
            stack.enter_context(watching_maps(self.maps, self._tap))
            stack.enter_context(watching_lookups(tables, self._look_up))
            if self._banks is not None:
                stack.enter_context(self._banks.attached())
            yield

    def begin(self, batch: Batch, used: Bool[Tensor, "sample label"]) -> None:
        """Make ready for a batch.

        Args:
            batch: The batch.
            used: Labelled tokens, as the head sees them.
        """
        self._batch, self._used = batch, used
        self._gathered = {}
        self._seen = set()
        self._keys = _InputKeys()
        if self._banks is not None:
            self._banks.begin(batch)

    def counting(self, run: Callable[[], Tensor]) -> Tensor:
        """Do a forward pass: what runs in it is waited for."""
        self._forward = True
        try:
            return run()
        finally:
            self._forward = False

    def finish(self) -> None:
        """Emit what is still open: of parameters that did not show all.

        Raises:
            MeasureError: The model never used a parameter, or no gradient came back.
        """
        for number, rule in enumerate(self._rules):
            if rule.kind in ("other", *_OF_BANKS):
                continue
            if number not in self._seen:
                raise MeasureError(
                    f"{rule.name}: the model never used this parameter; leave it out"
                )
        for number in list(self._gathered):
            if not self._gathered[number].received:
                raise MeasureError(
                    f"{self._rules[number].name}: no gradient came back to it; does "
                    "the model detach its hidden states or run without gradients?"
                )
            self._send(number)
        if self._banks is not None:
            self._banks.finish()
        self._clean_inputs = None

    def _tap(self, index: int, inputs: Tensor, output: Tensor) -> Tensor:
        user = self._users[index]
        for number in (user.weight, user.bias):
            self._expect(number)
        receive = partial(self._receive, user, self._keys.of(inputs))
        if user.module is not self._head:
            return tap(output, inputs, receive)
        if output.requires_grad:  # without a tap's copy: there is nothing larger
            output.register_hook(partial(receive, inputs, None))
        return output

    def _expect(self, number: int | None) -> None:
        if self._forward and number is not None:
            self._gathered.setdefault(number, _Gathered()).expected += 1
            self._seen.add(number)

    def _look_up(
        self, index: int, ids: Tensor, padding_row: int | None, rows: Tensor
    ) -> Tensor:
        user = self._tables[index]
        self._expect(user.weight)
        start = leaf(rows)
        if user.weight is not None:
            start.register_hook(partial(self._receive_rows, user, ids, padding_row))
        # A copy: models add positions in place.
        return start.clone()

    def _receive(
        self,
        user: User,
        key: int,
        inputs: Tensor,
        _outputs: Tensor | None,
        gradient: Tensor,
    ) -> None:
        batch = self._require_batch()
        if user.kind == "norm":
            grouped = self._by_sample(user, gradient)
            if user.weight is not None and user.xhat is not None:
                entered = self._by_sample(user, user.xhat(inputs))
                terms = torch.where(grouped == 0, 0, entered * grouped)
                self._add(user, user.weight, terms)
            if user.bias is not None:
                self._add(user, user.bias, grouped)
            return
        real = self._used if user.module is self._head else batch.real
        assert real is not None
        said = (batch.sample_ids, user.path)
        cleaned = clean(gradient, real, *said, "gradient")
        if user.weight is not None:
            entered = self._cleaned_inputs(user, key, inputs, real)
            piece = OuterProducts(inputs=entered, gradients=cleaned, inputs_key=key)
            self._gathered[user.weight].products.append(piece)
            self._received(user.weight)
        if user.bias is not None:
            self._add(user, user.bias, cleaned)

    def _receive_rows(
        self, user: User, ids: Tensor, padding_row: int | None, gradient: Tensor
    ) -> None:
        batch = self._require_batch()
        assert user.weight is not None
        said = (batch.sample_ids, user.path)
        cleaned = clean(gradient, batch.real, *said, "gradient")
        rows = ids.reshape(batch.real.shape)
        counted = batch.real.to(rows.device)
        if padding_row is not None:
            counted = counted & (rows != padding_row)
        piece = LookedUpRows(ids=rows, gradients=cleaned, counted=counted)
        self._gathered[user.weight].rows.append(piece)
        self._received(user.weight)

    def _cleaned_inputs(
        self, user: User, key: int, inputs: Tensor, real: Tensor
    ) -> Tensor:
        """Clean what q, k and v have in common only once."""
        if self._clean_inputs is None or self._clean_inputs[0] != key:
            said = (self._require_batch().sample_ids, user.path)
            self._clean_inputs = (key, clean(inputs, real, *said, "input"))
        return self._clean_inputs[1]

    def _by_sample(
        self, user: User, values: Tensor
    ) -> Float[Tensor, "sample term weight"]:
        """Put all terms of a sample on one axis; heads give several a token."""
        shape = self._require_batch().real.shape
        tail = values.shape[values.ndim - user.num_axes :].numel()
        if values.ndim == user.num_axes + 1 and len(values) == shape.numel():
            return values.reshape(shape[0], -1, tail)
        if values.ndim < user.num_axes + 2 or len(values) != shape[0]:
            raise MeasureError(
                f"{user.path}: its gradient has shape {tuple(values.shape)}, which is "
                f"not sample x token {tuple(shape)}; leave the tensor out"
            )
        return values.reshape(shape[0], -1, tail)

    def _add(
        self, user: User, number: int, terms: Float[Tensor, "sample term weight"]
    ) -> None:
        values = terms.sum(dim=1, dtype=torch.float64)
        squares = terms.square().sum(dim=(1, 2), dtype=torch.float64)
        count = (terms != 0).any(dim=2).sum(dim=1).to(squares)
        ids = self._require_batch().sample_ids
        require_finite(values, ids, user.path, "gradient")
        gathered = self._gathered[number]
        if gathered.sums is None:
            gathered.sums = _Sums(
                values=values, squares=squares, terms=count, dtype=terms.dtype
            )
        else:
            gathered.sums.values += values
            gathered.sums.squares += squares
            gathered.sums.terms += count
        self._received(number)

    def _received(self, number: int) -> None:
        gathered = self._gathered[number]
        gathered.received += 1
        if gathered.received == gathered.expected:
            self._send(number)

    def _send(self, number: int) -> None:
        batch, rule = self._require_batch(), self._rules[number]
        gathered = self._gathered.pop(number)
        products = self._joined(gathered.products)
        for one in rule.slices:
            pieces: list[GradientPiece] = [*gathered.rows]
            pieces += [_cut(piece, one.rows) for piece in products]
            if gathered.sums is not None:
                pieces.append(_whole(gathered.sums))
            self._take(
                TensorSignal(
                    tensor=one.place,
                    shape=slice_shape(rule, one),
                    sample_ids=batch.sample_ids,
                    sample_index=batch.sample_index,
                    pieces=tuple(pieces),
                )
            )

    def _joined(self, products: Sequence[OuterProducts]) -> list[OuterProducts]:
        """Executions of one map, as one with the tokens of all."""
        if len(products) < 2:
            return list(products)
        return [
            OuterProducts(
                inputs=torch.cat([piece.inputs for piece in products], dim=1),
                gradients=torch.cat([piece.gradients for piece in products], dim=1),
                inputs_key=self._keys.new(),
            )
        ]

    def _require_batch(self) -> Batch:
        assert self._batch is not None
        return self._batch


class _InputKeys:
    """Numbers for tensors, equal where it is the same one."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._last = 0

    def new(self) -> int:
        self._last += 1
        return self._last

    def of(self, inputs: Tensor) -> int:
        known = self._known.get(id(inputs))
        if known is not None and known[0]() is inputs:
            return known[1]
        key = self.new()
        self._known[id(inputs)] = (weakref.ref(inputs), key)
        return key


def _cut(piece: OuterProducts, rows: RowBlocks | None) -> OuterProducts:
    if rows is None:
        return piece
    return replace(piece, gradients=cut_rows(piece.gradients, rows))


def _whole(sums: _Sums) -> WholeGradients:
    """In what the pass computes in, by which noise is told from a gradient."""
    dtype = torch.promote_types(sums.dtype, torch.float32)
    squares = sums.terms * sums.squares
    return WholeGradients(values=sums.values.to(dtype), summed_squares=squares)
