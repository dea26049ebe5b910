"""What do the linear maps of a model show while one batch runs through it?

A tap returns the output of a map unchanged and keeps its input with
`save_for_backward`, as the map itself would: checkpointing then drops and
remakes it like any other activation. The tap's own backward receives the
gradient at the output and hands both on at once, so that inputs are freed layer
by layer and no gradient of a weight is ever made.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from driftmap.capture.hooks import watching
from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.families.matrices import site_module
from driftmap.signals.batch import Batch
from driftmap.signals.fold import LinearCall, SiteSignal

Emit = Callable[[SiteSignal], None]


class Taps:
    """Turns executions of linear maps into signals, as soon as each is complete.

    A signal is complete when all executions of its map in this batch are in.
    With backward, the forward pass counts them; without, `learn_counts` must
    have seen one sample.

    Args:
        model: The model that holds the sites.
        sites: Where to listen; sites of one fused map share its tap.
        emit: Takes each signal.
        with_backward: Signals carry gradients and come out during the backward.
    """

    def __init__(
        self,
        model: nn.Module,
        sites: Sequence[Site],
        emit: Emit,
        *,
        with_backward: bool,
    ) -> None:
        by_module: dict[nn.Module, list[Site]] = {}
        for site in sites:
            by_module.setdefault(site_module(model, site), []).append(site)
        self.modules = tuple(by_module)
        self._sites = tuple(tuple(group) for group in by_module.values())
        self._emit = emit
        self._with_backward = with_backward
        self._forward = False
        self._expected = [0] * len(self.modules)
        self._calls: list[list[LinearCall]] = [[] for _ in self.modules]
        self._ever = [False] * len(self.modules)
        self._open: set[int] = set()
        self._batch: Batch | None = None

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Listen for as long as the block runs, then require that all were heard.

        Raises:
            MeasureError: A map never ran, so that its score would be an empty 0.
        """
        hook = self._tap if self._with_backward else self._take
        with watching(self.modules, hook):
            yield
        for index, ran in enumerate(self._ever):
            if not ran:
                raise MeasureError(
                    f"{self.name(index)}: the model never called this module; "
                    "leave the site out"
                )

    def learn_counts(self, run: Callable[[], object]) -> None:
        """Count how often each map runs in one call of `run`."""
        counts = [0] * len(self.modules)

        def count(index: int, inputs: Tensor, output: Tensor) -> None:
            counts[index] += 1

        with watching(self.modules, count), torch.no_grad():
            run()
        self._expected = counts

    def forward(self, batch: Batch, run: Callable[[], Tensor]) -> Tensor:
        """Do the forward pass of one batch and return what `run` returns."""
        self._batch = batch
        self._open = set(range(len(self.modules)))
        if self._with_backward:
            self._expected = [0] * len(self.modules)
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
            if self._with_backward and self._expected[index] and not self._calls[index]:
                raise MeasureError(
                    f"{self.name(index)}: no gradient came back to this module; does "
                    "the model detach its hidden states or run without gradients?"
                )
            self._send(index)
        self._batch = None

    def name(self, index: int) -> str:
        """Path of a watched module."""
        return self._sites[index][0].path

    def _tap(self, index: int, inputs: Tensor, output: Tensor) -> Tensor:
        if self._forward:
            self._expected[index] += 1
            self._ever[index] = True
        return _Tap.apply(output, inputs, partial(self._receive, index))

    def _take(self, index: int, inputs: Tensor, output: Tensor) -> None:
        self._ever[index] = True
        self._receive(index, inputs, None)

    def _receive(self, index: int, inputs: Tensor, gradient: Tensor | None) -> None:
        X = self._clean(index, "input", inputs)
        D = None if gradient is None else self._clean(index, "gradient", gradient)
        if index not in self._open:
            raise MeasureError(
                f"{self.name(index)}: it ran more often in this batch than in the "
                "first; give samples one by one"
            )
        self._calls[index].append(LinearCall(inputs=X, output_gradients=D))
        if len(self._calls[index]) == self._expected[index]:
            self._send(index)

    def _clean(self, index: int, what: str, values: Tensor) -> Tensor:
        """Bring to `[sample token unit]`, zero at padding, finite elsewhere."""
        batch = self._batch
        assert batch is not None
        shape = batch.real.shape
        if values.shape[:-1] != shape:
            if values.ndim != 2 or len(values) != batch.real.numel():
                raise MeasureError(
                    f"{self.name(index)}: its {what} has shape {tuple(values.shape)}, "
                    f"which is not sample x token {tuple(shape)}; leave the site out"
                )
            values = values.reshape(*shape, -1)
        if not bool(batch.real.all()):
            values = values.masked_fill(~batch.real.to(values.device)[..., None], 0)
        low, high = values.aminmax()
        if not bool(torch.isfinite(high - low)):
            broken = ~torch.isfinite(values).flatten(1).all(dim=1)
            if bool(broken.any()):
                named = zip(batch.sample_ids, broken.tolist(), strict=True)
                raise MeasureError(
                    f"{self.name(index)}: the {what} of sample "
                    f"{next(i for i, flag in named if flag)} is not finite; are "
                    "the weights damaged, or is the dtype too narrow?"
                )
        return values

    def _send(self, index: int) -> None:
        batch = self._batch
        assert batch is not None
        for site in self._sites[index]:
            calls = tuple(
                LinearCall(
                    inputs=call.inputs,
                    output_gradients=_rows_of(site, call.output_gradients),
                )
                for call in self._calls[index]
            )
            signal = SiteSignal(
                site=site,
                sample_ids=batch.sample_ids,
                sample_index=batch.sample_index,
                calls=calls,
            )
            self._emit(signal)
        self._calls[index] = []
        self._open.discard(index)


class _Tap(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401
        output: Tensor,
        inputs: Tensor,
        receive: Callable[[Tensor, Tensor], None],
    ) -> Tensor:
        ctx.save_for_backward(inputs)
        ctx.receive = receive
        # A copy: torch forbids in-place changes of an output that is its input.
        return output.clone()

    @staticmethod
    def backward(
        ctx: Any,  # noqa: ANN401
        *gradients: Tensor,
    ) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        (inputs,) = ctx.saved_tensors
        ctx.receive(inputs.detach(), gradient)
        return gradient, None, None


def _rows_of(site: Site, gradient: Tensor | None) -> Tensor | None:
    if gradient is None or site.split is None:
        return gradient
    blocks = site.split
    if blocks.count == 1:
        return gradient.narrow(-1, blocks.start, blocks.length)
    return gradient[..., torch.tensor(blocks.rows(), device=gradient.device)]
