"""What do the linear maps of a model show while one batch runs through it?

A tap returns the output of a map unchanged and keeps its input with
`save_for_backward`, as the map itself would: checkpointing then drops and
remakes it like any other activation. The tap's own backward receives the
gradient at the output and hands both on at once, so that inputs are freed layer
by layer and no gradient of a weight is ever made. Where the gradient at the input
is wanted too, a second tap stands before the map, so that no other map that reads
the same input adds to it.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from driftmap.capture.cleaning import clean
from driftmap.capture.hooks import entering
from driftmap.capture.watched_maps import WatchedMap, watching_maps
from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.families.matrices import (
    effective_weight,
    site_module,
    site_parameter,
)
from driftmap.families.modules import map_shape
from driftmap.signals.batch import Batch
from driftmap.signals.fold import Fold, LinearCall, SiteSignal

Emit = Callable[[SiteSignal], None]

Receive = Callable[[Tensor, Tensor | None, Tensor], None]
"""Takes a map's inputs, its outputs where they are kept, and the gradient there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What signals carry beside the inputs.

    Args:
        backward: Gradients at the outputs; signals come out during the backward.
        outputs: Outputs without bias.
        input_gradients: Gradients at the inputs.
    """

    backward: bool = False
    outputs: bool = False
    input_gradients: bool = False

    @staticmethod
    def by(folds: Sequence[Fold[Any, Any]]) -> "Wanted":
        """What any of some folds asks for."""
        at_inputs = any(fold.needs_input_gradients for fold in folds)
        return Wanted(
            backward=at_inputs or any(fold.needs_backward for fold in folds),
            outputs=any(fold.needs_outputs for fold in folds),
            input_gradients=at_inputs,
        )


@dataclass(slots=True, eq=False)
class _Execution:
    """One execution of a map, filled in as its tensors come."""

    inputs: Tensor | None = None
    gradient: Tensor | None = None
    outputs: Tensor | None = None
    input_gradient: Tensor | None = None


class Taps:
    """Turns executions of linear maps into signals, as soon as each is complete.

    A signal is complete when all executions of its map in this batch are in.
    With backward, the forward pass counts them; without, `learn_counts` must
    have seen one sample.

    Args:
        model: The model that holds the sites.
        sites: Where to listen; sites of one fused map share its tap.
        emit: Takes each signal.
        wanted: What signals carry; they come out during the backward where there is
            one.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[Site],
        emit: Emit,
        *,
        wanted: Wanted,
    ) -> None:
        by_module: dict[nn.Module, list[Site]] = {}
        for site in sites:
            by_module.setdefault(site_module(model, site), []).append(site)
        self._sites = tuple(tuple(group) for group in by_module.values())
        self.maps = tuple(
            _watched(module, sites[0]) for module, sites in by_module.items()
        )
        self._model = model
        self._emit = emit
        self._wanted = wanted
        self._offsets: list[Tensor | None] = [None] * len(self.maps)
        self._entered: dict[int, _Execution] = {}
        self._forward = False
        self._expected = [0] * len(self.maps)
        self._calls: list[list[_Execution]] = [[] for _ in self.maps]
        self._ever = [False] * len(self.maps)
        self._open: set[int] = set()
        self._batch: Batch | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen for as long as the block runs, then require that all were heard.

        Raises:
            MeasureError: A map never ran, so that its score would be an empty 0.
        """
        if self._wanted.outputs:
            self._offsets = [
                _offset(one, sites[0])
                for one, sites in zip(self.maps, self._sites, strict=True)
            ]
        with ExitStack() as stack:
            if self._wanted.input_gradients:
                stack.enter_context(entering(self._tapped_before(), self._tap_inputs))
            hook = self._tap if self._wanted.backward else self._take
            stack.enter_context(watching_maps(self.maps, hook))
            yield
        for index, ran in enumerate(self._ever):
            if not ran:
                raise MeasureError(
                    f"{self.name(index)}: the model never called this module; "
                    "leave the site out"
                )

    def learn_counts(self, run: Callable[[], object]) -> None:
        """Count how often each map runs in one call of `run`."""
        counts = [0] * len(self.maps)

        def count(index: int, inputs: Tensor, output: Tensor) -> None:
            counts[index] += 1

        with watching_maps(self.maps, count), torch.no_grad():
            run()
        self._expected = counts

    def forward(self, batch: Batch, run: Callable[[], Tensor]) -> Tensor:
        """Do the forward pass of one batch and return what `run` returns."""
        self._batch = batch
        self._open = set(range(len(self.maps)))
        if self._wanted.backward:
            self._expected = [0] * len(self.maps)
        self._forward = True
        try:
            return run()
        finally:
            self._forward = False

    def finish(self) -> None:
        """Emit what is still open: maps that did not run, or not to the end.

        Raises:
            MeasureError: A map ran but no gradient came back to it.
        """
        for index in sorted(self._open):
            if (
                self._wanted.backward
                and self._expected[index]
                and not self._calls[index]
            ):
                raise MeasureError(
                    f"{self.name(index)}: no gradient came back to this module; does "
                    "the model detach its hidden states or run without gradients?"
                )
            self._send(index)
        self._batch = None

    def name(self, index: int) -> str:
        """Path of a watched module."""
        return self._sites[index][0].path

    def _tapped_before(self) -> dict[int, nn.Module]:
        """Modules of one part each; a fused one sends up a sum over its parts."""
        return {
            index: one.module
            for index, one in enumerate(self.maps)
            if any(_has_own_inputs(site) for site in self._sites[index])
        }

    def _tap_inputs(self, index: int, inputs: Tensor) -> Tensor:
        execution = _Execution()
        self._entered[index] = execution
        return _InputTap.apply(inputs, partial(self._receive_below, index, execution))

    def _tap(self, index: int, inputs: Tensor, output: Tensor) -> Tensor:
        if self._forward:
            self._expected[index] += 1
            self._ever[index] = True
        execution = self._entered.pop(index, None) or _Execution()
        receive = partial(self._receive, index, execution)
        return tap(output, inputs, receive, with_output=self._wanted.outputs)

    def _take(self, index: int, inputs: Tensor, output: Tensor) -> None:
        self._ever[index] = True
        # A copy: models add to an output in place (falcon) when it has been seen.
        outputs = output.clone() if self._wanted.outputs else None
        self._receive(index, _Execution(), inputs, outputs, None)

    def _receive(
        self,
        index: int,
        execution: _Execution,
        inputs: Tensor,
        outputs: Tensor | None,
        gradient: Tensor | None,
    ) -> None:
        execution.inputs = self._clean(index, "input", inputs)
        if gradient is not None:
            execution.gradient = self._clean(index, "gradient", gradient)
        if outputs is not None:
            offset = self._offsets[index]
            without_bias = outputs if offset is None else outputs - offset
            execution.outputs = self._clean(index, "output", without_bias)
        if index not in self._open:
            raise MeasureError(
                f"{self.name(index)}: it ran more often in this batch than in the "
                "first; give samples one by one"
            )
        self._calls[index].append(execution)
        self._send_if_complete(index)

    def _receive_below(
        self, index: int, execution: _Execution, gradient: Tensor
    ) -> None:
        execution.input_gradient = self._clean(index, "input gradient", gradient)
        self._send_if_complete(index)

    def _send_if_complete(self, index: int) -> None:
        calls = self._calls[index]
        waits_below = self._wanted.input_gradients and any(
            _has_own_inputs(site) for site in self._sites[index]
        )
        if len(calls) < self._expected[index] or (
            waits_below and any(call.input_gradient is None for call in calls)
        ):
            return
        self._send(index)

    def _clean(self, index: int, what: str, values: Tensor) -> Tensor:
        """Bring to `[sample token unit]`, zero at padding, finite elsewhere."""
        batch = self._batch
        assert batch is not None
        return clean(values, batch.real, batch.sample_ids, self.name(index), what)

    def _send(self, index: int) -> None:
        batch = self._batch
        assert batch is not None
        for site in self._sites[index]:
            signal = SiteSignal(
                site=site,
                sample_ids=batch.sample_ids,
                sample_index=batch.sample_index,
                observed=batch.observed,
                calls=tuple(self._call(site, one) for one in self._calls[index]),
            )
            self._emit(signal)
        self._calls[index] = []
        self._open.discard(index)

    def _call(self, site: Site, execution: _Execution) -> LinearCall:
        assert execution.inputs is not None
        gradient = rows_of(site, execution.gradient)
        at_inputs = execution.input_gradient
        if self._wanted.input_gradients and not _has_own_inputs(site):
            assert gradient is not None
            weight = effective_weight(self._model, site)
            at_inputs = (gradient.to(weight.dtype) @ weight).to(gradient.dtype)
        return LinearCall(
            inputs=execution.inputs,
            output_gradients=gradient,
            outputs=rows_of(site, execution.outputs),
            input_gradients=at_inputs,
        )


def tap(
    output: Tensor, inputs: Tensor, receive: Receive, *, with_output: bool = False
) -> Tensor:
    """Have `receive` called when the gradient at a map's output is known.

    Args:
        output: What the map gave.
        inputs: What it was given; kept until then, as autograd keeps its own.
        receive: Called during the backward.
        with_output: Keep the output, too.

    Returns:
        What the model goes on with.
    """
    return _Tap.apply(output, inputs, receive, with_output)


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        output: Tensor,
        inputs: Tensor,
        receive: Receive,
        with_output: bool,
    ) -> Tensor:
        ctx.save_for_backward(*([inputs, output] if with_output else [inputs]))
        ctx.receive = receive
        # A copy: torch forbids in-place changes of an output that is its input.
        return output.clone()

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor, None, None, None]:
        (gradient,) = gradients
        inputs, *output = (saved.detach() for saved in ctx.saved_tensors)
        ctx.receive(inputs, output[0] if output else None, gradient)
        return gradient, None, None, None


class _InputTap(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        inputs: Tensor,
        receive: Callable[[Tensor], None],
    ) -> Tensor:
        ctx.receive = receive
        return inputs.view_as(inputs)

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor, None]:
        (gradient,) = gradients
        ctx.receive(gradient)
        return gradient, None


def _watched(module: nn.Module, site: Site) -> WatchedMap:
    if site.tensor is None:
        return WatchedMap(module=module)
    return WatchedMap(module=module, weight=site_parameter(module, site))


def _has_own_inputs(site: Site) -> bool:
    """Whether the module's inputs go into this matrix, and nowhere else."""
    return site.split is None and site.tensor is None


def _offset(one: WatchedMap, site: Site) -> Tensor | None:
    """What a map adds to W x: its answer to 0, so that adapters' biases count too."""
    module = one.module
    if site.tensor is not None:
        bias = dict(module.named_parameters()).get(
            f"{site.tensor.removesuffix('weight')}bias"
        )
        return None if bias is None else bias.detach()
    biases = [p for name, p in module.named_parameters() if name.endswith("bias")]
    if not biases:
        return None
    nothing = biases[0].new_zeros(1, map_shape(module)[1])
    with torch.no_grad():
        return module(nothing)[0]


def rows_of(site: Site, values: Tensor | None) -> Tensor | None:
    """Cut what stands at a map's outputs to the site, along the last axis."""
    if values is None or site.split is None:
        return values
    blocks = site.split
    if blocks.count == 1:
        return values.narrow(-1, blocks.start, blocks.length)
    return values[..., torch.tensor(blocks.rows(), device=values.device)]
