"""What would each state do for the answer if the model were a straight line?

Attribution patching (Nanda 2023; AtP*, Kramar et al. 2024, arXiv:2403.00745):
`(h_clean - h_corrupted) . d outcome / d h` at the corrupted run. Two forward passes and
one backward give every cell of every kind, where exact cells need a pass each. It is
an estimate: it fails where the outcome saturates and where effects along two ways
cancel, and it gets worse with depth.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from driftmap.capture.dropped_gradients import Dropped, dropping
from driftmap.capture.hooks import evaluating, frozen
from driftmap.capture.patching.outcomes import answer_reader
from driftmap.capture.patching.states import editing_states
from driftmap.capture.patching.traced import Traced, answer_logits
from driftmap.capture.patching.windows import put_back_layers
from driftmap.core.errors import MeasureError
from driftmap.results.facts import EncodedFact
from driftmap.results.trace_kinds import Outcome, TraceMethod
from driftmap.signals.traces import Corruption, Restoring, TraceCells

Products = Mapping[str, Float[Tensor, "draw fed width"]]
"""By path: (clean - corrupted) x gradient, whose sum over the width is the estimate."""


def attribution(
    model: nn.Module,
    prompt: EncodedFact,
    corruption: Corruption,
    wanted: Sequence[Restoring],
    *,
    outcome: Outcome = "prob",
    points: int | None = None,
) -> tuple[TraceCells, ...]:
    """Estimate all cells of one prompt by gradients.

    Args:
        model: A decoder-only language model; left as it was found.
        prompt: With its answer.
        corruption: From `draw_noise`.
        wanted: Grids, all of the same draws; not the severed kinds.
        outcome: What is read of the answer.
        points: Gradients are averaged over this many midpoints between corrupted and
            clean embeddings (count), which follows a curved outcome; None takes the
            gradient at the corrupted run.

    Returns:
        One per grid, in the order wanted: `scores` is low plus the estimated effect.

    Raises:
        MeasureError: What is wanted has no estimate, the outcome is a rank, or the
            answer has no gradient.
    """
    if points is not None and points < 1:
        raise MeasureError(f"{points} points are no path; take 1 or more (8 is usual)")
    shares = [0.0] if points is None else [(k + 0.5) / points for k in range(points)]
    method = "attribution" if points is None else "integrated"
    with frozen(model), evaluating(model), torch.enable_grad():
        traced = Traced.of(model)
        ends = _Ends.of(
            traced, prompt, corruption, wanted, outcome, keeps_graph=points is None
        )
        passes = [
            _pass(ends, wanted, _between(ends, share) if points else ends.graph)
            for share in shares
        ]
    means = [torch.stack(each).mean(0) for each in zip(*passes, strict=True)]
    return _as_cells(ends, wanted, means, method)


def grad_drop(
    model: nn.Module,
    prompt: EncodedFact,
    corruption: Corruption,
    wanted: Sequence[Restoring],
    *,
    outcome: Outcome = "prob",
) -> tuple[TraceCells, ...]:
    """Rank all cells of one prompt by gradients that effects cannot cancel in.

    One backward pass for each block, in which what that block adds to the residual
    stream has no gradient; `sum over blocks of |estimate| / (L - 1)` (AtP*, equation
    11). It ranks places and has no sign.

    Args:
        model: As `attribution`.
        prompt: As `attribution`.
        corruption: As `attribution`.
        wanted: As `attribution`.
        outcome: As `attribution`.

    Returns:
        One per grid: `scores` is low plus the size of the effect.

    Raises:
        MeasureError: As `attribution`; the model has a single block.
    """
    traced, dropped = Traced.of(model), Dropped()
    if traced.num_layers < 2:
        raise MeasureError(
            "a model of one block has no other block to drop from the gradient; take "
            "`attribution`"
        )
    with (
        frozen(model),
        evaluating(model),
        torch.enable_grad(),
        dropping(traced.blocks, dropped),
    ):
        ends = _Ends.of(traced, prompt, corruption, wanted, outcome, keeps_graph=True)
        passes = []
        for layer in range(traced.num_layers):
            dropped.layer = layer
            passes.append(_pass(ends, wanted, ends.graph, keeps_graph=True))
    sizes = [
        torch.stack(each).abs().sum(0) / (traced.num_layers - 1)
        for each in zip(*passes, strict=True)
    ]
    return _as_cells(ends, wanted, sizes, "grad_drop")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Graph:
    """Outputs of modules in a run, and the sum of its outcomes."""

    outputs: Mapping[str, Tensor]
    total: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Ends:
    """The clean and the corrupted run, and how the runs between them are read.

    Args:
        traced: The model.
        token_ids: What is fed, one row.
        num_prompt: T, tokens of the prompt (count).
        start: First corrupted token.
        paths: Modules whose outputs are put back.
        read: Takes logits to one outcome per row.
        embedded: Clean and corrupted embeddings.
        differences: By path, clean minus corrupted output.
        graph: Of the corrupted run, with gradients where they were asked for.
        low: Of the corrupted runs.
        high: Of the clean one.
    """

    traced: Traced
    token_ids: Tensor
    num_prompt: int
    start: int
    paths: tuple[str, ...]
    read: Callable[[Tensor], Tensor]
    embedded: tuple[Float[Tensor, "row token width"], Float[Tensor, "draw token width"]]
    differences: Products
    graph: _Graph
    low: Float64[Tensor, " draw"]
    high: float

    @staticmethod
    def of(
        traced: Traced,
        prompt: EncodedFact,
        corruption: Corruption,
        wanted: Sequence[Restoring],
        outcome: Outcome,
        *,
        keeps_graph: bool,
    ) -> "_Ends":
        """Run both ends."""
        if outcome == "rank":
            raise MeasureError("a rank has no gradient; estimate another outcome")
        paths = _paths(traced, wanted)
        token_ids = traced.token_ids(prompt)
        run = partial(_run, traced, token_ids, prompt.num_prompt, paths)
        with torch.no_grad():
            clean_embedded = traced.embedding(token_ids)
            embedded = _corrupted(clean_embedded, corruption)
            clean, clean_logits = run(clean_embedded)
            told = _wide(clean_logits[0]).log_softmax(-1)
            read = answer_reader(prompt, outcome, told)
        with torch.set_grad_enabled(keeps_graph):
            outputs, logits = run(embedded.requires_grad_(keeps_graph))
            low = read(logits)
        return _Ends(
            traced=traced,
            token_ids=token_ids,
            num_prompt=prompt.num_prompt,
            start=corruption.start,
            paths=paths,
            read=read,
            embedded=(clean_embedded, embedded.detach()),
            differences={path: clean[path] - outputs[path].detach() for path in paths},
            graph=_Graph(outputs=outputs, total=low.sum()),
            low=low.detach(),
            high=float(read(clean_logits)[0]),
        )


def _paths(traced: Traced, wanted: Sequence[Restoring]) -> tuple[str, ...]:
    paths: list[str] = []
    for restoring in wanted:
        if restoring.kind.startswith("severed"):
            raise MeasureError(
                f"{restoring.kind}: gradients estimate no run with a module held; "
                "trace it exactly"
            )
        put_back_layers(restoring, traced.num_layers)
        paths += traced.places(restoring.kind).values()
    return tuple(dict.fromkeys(paths))


def _corrupted(clean: Tensor, corruption: Corruption) -> Tensor:
    values = corruption.values.to(clean)
    states = clean.repeat(len(values), 1, 1)
    span = states[:, corruption.start : corruption.start + values.shape[1]]
    span.copy_(values) if corruption.replaces else span.add_(values)
    return states


def _run(
    traced: Traced,
    token_ids: Tensor,
    num_prompt: int,
    paths: Sequence[str],
    embedded: Tensor,
) -> tuple[dict[str, Tensor], Tensor]:
    """Outputs of modules, as nodes of the graph, and logits, of given embeddings."""
    num_tokens = token_ids.shape[1]
    outputs: dict[str, Tensor] = {}

    def keep(number: int, states: Tensor) -> Tensor:
        outputs[paths[number]] = states
        return states.clone()  # falcon adds to what its MLP gives in place

    modules = [traced.module(path) for path in paths]
    with (
        editing_states([traced.embedding], num_tokens, lambda *_: embedded),
        editing_states(modules, num_tokens, keep),
    ):
        rows = token_ids.expand(len(embedded), -1)
        logits = answer_logits(traced.model, rows, num_tokens - num_prompt + 1)
    missing = [path for path in paths if path not in outputs]
    if missing:
        raise MeasureError(f"{missing[0]}: the model never called this module")
    return outputs, logits


def _between(ends: _Ends, share: float) -> _Graph:
    """Run from a share of the way between corrupted and clean embeddings."""
    clean, corrupted = ends.embedded
    embedded = (corrupted + share * (clean - corrupted)).requires_grad_(True)
    outputs, logits = _run(
        ends.traced, ends.token_ids, ends.num_prompt, ends.paths, embedded
    )
    return _Graph(outputs=outputs, total=ends.read(logits).sum())


def _pass(
    ends: _Ends,
    wanted: Sequence[Restoring],
    graph: _Graph,
    *,
    keeps_graph: bool = False,
) -> list[Float64[Tensor, "token layer draw"]]:
    """Effects of one backward pass, grid by grid."""
    if not graph.total.requires_grad:
        raise MeasureError(
            f"{ends.traced.sites.embedding}: the answer has no gradient there; trace "
            "this model exactly"
        )
    live = {path: one for path, one in graph.outputs.items() if one.requires_grad}
    gradients: Sequence[Tensor] = ()
    if live:
        gradients = torch.autograd.grad(
            graph.total,
            list(live.values()),
            retain_graph=keeps_graph,
            allow_unused=True,
            materialize_grads=True,
        )
    found = dict(zip(live, gradients, strict=True))
    products = {
        path: _wide(apart) * _wide(found.get(path, torch.zeros_like(apart)))
        for path, apart in ends.differences.items()
    }
    return [_effects(ends, restoring, products) for restoring in wanted]


def _wide(values: Tensor) -> Tensor:
    return values.detach().to(torch.promote_types(values.dtype, torch.float32))


def _as_cells(
    ends: _Ends,
    wanted: Sequence[Restoring],
    effects: Sequence[Float64[Tensor, "token layer draw"]],
    method: TraceMethod,
) -> tuple[TraceCells, ...]:
    cells = []
    for restoring, effect in zip(wanted, effects, strict=True):
        effect[: ends.start] = 0  # nothing before the subject can differ
        _require_some(ends, restoring, effect)
        first, end = restoring.tokens or (0, ends.num_prompt)
        effect[:first] = effect[end:] = torch.nan
        cells.append(
            TraceCells(
                restoring=restoring,
                scores=ends.low + effect,
                low=ends.low,
                high=ends.high,
                method=method,
            )
        )
    return tuple(cells)


def _effects(
    ends: _Ends, restoring: Restoring, products: Products
) -> Float64[Tensor, "token layer draw"]:
    """Effects of single modules add up in a window.

    What goes through two of them counts twice: a sum for each start of a window and
    token would need a backward pass of its own.
    """
    first, last = restoring.dims or (0, None)
    places = ends.traced.places(restoring.kind)
    none = torch.zeros(len(ends.low), ends.num_prompt, dtype=torch.float64)
    single = [
        products[places[layer]][:, : ends.num_prompt, first:last].double().sum(-1).cpu()
        if layer in places
        else none
        for layer in range(ends.traced.num_layers)
    ]
    columns = [
        torch.stack([single[layer] for layer in layers]).sum(0)
        for layers in put_back_layers(restoring, ends.traced.num_layers)
    ]
    return torch.stack(columns).permute(2, 0, 1).contiguous()


def _require_some(ends: _Ends, restoring: Restoring, effect: Tensor) -> None:
    total = ends.high - float(ends.low.mean())
    if total != 0 and not bool(effect.any()):
        raise MeasureError(
            f"{restoring.kind}: no gradient reaches it although the noise changes the "
            f"answer by {total:.3g}; trace this model exactly"
        )
