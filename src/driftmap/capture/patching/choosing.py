"""Which way of tracing is the fastest that is exact with this model?

Not read from the model's name: three cells are run the naive way too, on noise of the
probe's own. What was found is kept for as long as the model lives, and found again
for prompts longer than those it was tried on.
"""

from collections.abc import Callable, Sequence
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.capture.patching.base_pass import BasePass, run_base
from driftmap.capture.patching.naive import naive_cells
from driftmap.capture.patching.noise import embedding_rows
from driftmap.capture.patching.outcomes import ReadAnswer
from driftmap.capture.patching.putting import Changes
from driftmap.capture.patching.traced import Traced
from driftmap.capture.patching.wavefront import reached_cells
from driftmap.capture.patching.windows import put_back_layers
from driftmap.families.modules import base_model
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import TraceMethod
from driftmap.signals.traces import Corruption, Restoring

CellsOfToken = Callable[
    [BasePass, Restoring, int, Sequence[range], ReadAnswer, Changes], Tensor
]

_TRIED = 2
"""Draws of the probe."""

_NARROW_SHARE = 0.25
"""Of what putting back changes, an error that the rounding of 16 bits may make."""

_WIDE_ROUNDINGS = 200
"""Times the rounding of the largest logit: the same sums in another order."""

_FAILURES = (
    RuntimeError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    AssertionError,
    NotImplementedError,
)
_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[str, str], tuple[TraceMethod, int]]] = (
    WeakKeyDictionary()
)


def cells_of(method: TraceMethod) -> CellsOfToken:
    """The function that runs the cells of one token."""
    return naive_cells if method == "naive" else reached_cells


def exact_method(
    traced: Traced, prompt: EncodedFact, restoring: Restoring, span: tuple[int, int]
) -> TraceMethod:
    """Find the fastest way that gives what the naive one gives.

    Args:
        traced: The model, in eval mode, without gradients.
        prompt: With its answer.
        restoring: What will be put back.
        span: Tokens that are corrupted.

    Returns:
        `wavefront`; `resume` where blocks cannot go on from keys and values; `naive`
        where something else passes from block to block.
    """
    kept = _FOUND.setdefault(base_model(traced.model), {})
    config = getattr(base_model(traced.model), "config", None)
    key = restoring.kind, str(getattr(config, "_attn_implementation", ""))
    method, length = kept.get(key, ("wavefront", 0))
    if length < len(prompt.token_ids):
        probe = _Probe(traced, prompt, restoring, span)
        method = probe.fastest(method)
        kept[key] = method, len(prompt.token_ids)
    return method


class _Probe:
    """Three cells of a prompt, the naive way and another."""

    def __init__(
        self,
        traced: Traced,
        prompt: EncodedFact,
        restoring: Restoring,
        span: tuple[int, int],
    ) -> None:
        self._traced = traced
        self._prompt = prompt
        self._restoring = restoring
        rows = embedding_rows(traced.model, prompt.token_ids.tolist())
        generator = torch.Generator().manual_seed(0)
        shape = (_TRIED, span[1] - span[0], rows.shape[1])
        unit = torch.randn(shape, generator=generator, dtype=torch.float64)
        values = 3 * float(rows.std()) * unit
        self._corruption = Corruption(start=span[0], values=values, replaces=False)
        last, layers = prompt.num_prompt - 1, traced.num_layers
        self._cells = [
            (span[0], 0),
            ((span[0] + last) // 2, layers // 2),
            (last, max(layers - 2, 0)),
        ]
        plain = self._base(keeps_keys=False)
        self._passes_more = plain.passes_more
        self._low = plain.logits[1:].double()
        self._naive = self._logits(naive_cells, plain)

    def fastest(self, method: TraceMethod) -> TraceMethod:
        """The first way that is right, from one that was not found wrong before."""
        for way in self._untried(method):
            if self._proves(way):
                return way
        return "naive"

    def _untried(self, method: TraceMethod) -> Sequence[TraceMethod]:
        ways: tuple[TraceMethod, ...] = ("wavefront", "resume")
        if self._passes_more or method not in ways:
            return ()
        return ways[ways.index(method) :]

    def _proves(self, method: TraceMethod) -> bool:
        """Whether a method gives the logits of the naive one."""
        try:
            base = self._base(keeps_keys=method == "wavefront")
            found = self._logits(reached_cells, base)
        except torch.OutOfMemoryError:
            raise
        except _FAILURES:
            return False
        error = (found - self._naive).abs().max()
        largest = self._naive.abs().max()
        rounding = torch.finfo(base.logits.dtype).eps * largest
        if base.logits.dtype in (torch.float32, torch.float64):
            return bool(error <= _WIDE_ROUNDINGS * rounding)
        effect = (self._naive - self._low).abs().max()
        return bool(error <= _NARROW_SHARE * effect + 2 * rounding)

    def _base(self, *, keeps_keys: bool) -> BasePass:
        return run_base(
            self._traced,
            self._prompt,
            self._corruption,
            [self._restoring.kind],
            keeps_keys=keeps_keys,
        )

    def _logits(
        self, cells: CellsOfToken, base: BasePass
    ) -> Float[Tensor, "cell draw answer vocabulary"]:
        columns = put_back_layers(self._restoring, base.num_layers)
        found = [
            cells(base, self._restoring, t, [columns[layer]], Tensor.double, Changes())
            for t, layer in self._cells
        ]
        return torch.cat(found)
