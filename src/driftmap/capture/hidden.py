"""What does each sample look like inside the model, one vector per place?

A forward pass alone. Of every place's hidden states `[sample token width]` only their
mean over some tokens is kept, so memory does not grow with the length of samples.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor, nn

from driftmap.capture.hooks import frozen, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.core.errors import MeasureError
from driftmap.core.places import TensorPlace
from driftmap.core.progress import progress
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch

Pool = Literal["answer", "mean", "last", "prompt_last"]
Where = Literal["block", "attention", "mlp", "embed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HiddenPlace:
    """A module whose output is read.

    Args:
        place: What it is called.
        path: The module, in the base model.
    """

    place: TensorPlace
    path: str


def hidden_places(
    model: nn.Module, where: Sequence[Where] = ("block",)
) -> tuple[HiddenPlace, ...]:
    """Find the places whose hidden states are compared, in the order of the model.

    Args:
        model: A decoder-only language model.
        where: `block` for what each block gives, `attention` and `mlp` for what the
            maps o and down add to it (before a norm that follows them), `embed` for
            what the token embedding gives.

    Raises:
        MeasureError: The model has none of them.
    """
    layout = find_layout(model)
    found: list[HiddenPlace] = []
    if "embed" in where:
        found.append(_hidden(layout.embedding, None, "embed"))
    for layer, path in enumerate(layout.blocks):
        maps = {site.part: site.path for site in layout.sites if site.layer == layer}
        if "attention" in where and "o" in maps:
            found.append(_hidden(maps["o"], layer, "attention"))
        if "mlp" in where and "down" in maps:
            found.append(_hidden(maps["down"], layer, "mlp"))
        if "block" in where:
            found.append(_hidden(path, layer, "block"))
    if not found:
        raise MeasureError(
            f"the model has no place called {' or '.join(where)}; read its blocks"
        )
    return tuple(found)


def pooled_hidden(
    model: nn.Module,
    places: Sequence[HiddenPlace],
    batches: Sequence[Batch],
    pool: Pool,
) -> Mapping[TensorPlace, Float32[np.ndarray, "sample _"]]:
    """Run all samples and keep one vector per sample and place.

    Args:
        model: A causal language model in eval mode; left as it was found.
        places: From `hidden_places`.
        batches: All samples; rows come out by `sample_index`, which counts from 0.
        pool: Tokens that are averaged: the counted ones (`answer`), all real ones
            (`mean`), the last real one, or the one that predicts the first counted
            token (`prompt_last`).

    Returns:
        Vectors by place, in float32.

    Raises:
        MeasureError: A sample has no such token, a place never ran, or a number is
            not finite.
    """
    num_samples = sum(len(batch.sample_ids) for batch in batches)
    kept: dict[TensorPlace, Float32[np.ndarray, "sample _"]] = {}

    def keep(place: TensorPlace, batch: Batch, vectors: Tensor) -> None:
        rows = vectors.float().cpu().numpy()
        if place not in kept:
            kept[place] = np.empty((num_samples, rows.shape[1]), np.float32)
        kept[place][list(batch.sample_index)] = rows

    with (
        torch.no_grad(),
        frozen(model),
        one_attention_kernel(model),
        progress("batches", len(batches)) as bar,
    ):
        for batch in batches:
            with _reading(model, places, batch, pool, keep):
                last = batch.real.shape[1] - 1
                logits_at(model, batch, torch.tensor([last], device=batch.real.device))
            bar.advance()
    missing = [one.path for one in places if one.place not in kept]
    if missing:
        raise MeasureError(f"{missing[0]}: the model never called this module")
    return kept


def pooled_tokens(batch: Batch, pool: Pool) -> Bool[Tensor, "sample token"]:
    """Say which tokens are averaged.

    Raises:
        MeasureError: A sample has none.

    >>> flags = torch.tensor([[False, False, True, True, False]])
    >>> real = torch.tensor([[True, True, True, True, False]])
    >>> batch = Batch(sample_ids=("s",), sample_index=(0,), real=real, counted=flags,
    ...               token_ids=torch.zeros(1, 5, dtype=torch.long), observed=real)
    >>> [pooled_tokens(batch, pool).nonzero()[:, 1].tolist()
    ...  for pool in ("answer", "mean", "last", "prompt_last")]
    [[2, 3], [0, 1, 2, 3], [3], [1]]
    """
    if pool == "answer":
        chosen = batch.counted.clone()
    elif pool == "mean":
        chosen = batch.real.clone()
    elif pool == "last":
        chosen = batch.real & (batch.real.flip(1).cumsum(1).flip(1) == 1)
    else:
        chosen = torch.zeros_like(batch.counted)
        first = batch.counted & (batch.counted.cumsum(1) == 1)
        chosen[:, :-1] = first[:, 1:]
    empty = (~chosen.any(1)).nonzero().flatten().tolist()
    if empty:
        raise MeasureError(
            f"sample {batch.sample_ids[empty[0]]}: no token is left to average with "
            f"--pool {pool}; is its answer empty, or cut off?"
        )
    return chosen


def _hidden(path: str, layer: int | None, what: Where) -> HiddenPlace:
    place = TensorPlace(
        name=path,
        part="embed" if what == "embed" else "block",
        layer=layer,
        half=what if what in ("attention", "mlp") else None,
    )
    return HiddenPlace(place=place, path=path)


@contextmanager
def _reading(
    model: nn.Module,
    places: Sequence[HiddenPlace],
    batch: Batch,
    pool: Pool,
    keep: Callable[[TensorPlace, Batch, Tensor], None],
) -> Iterator[None]:
    """Hand on the pooled output of every place for as long as the block runs."""
    shares = pooled_tokens(batch, pool).float()
    shares /= shares.sum(1, keepdim=True)
    handles = []

    def read(one: HiddenPlace, output: object) -> None:
        states = output[0] if isinstance(output, tuple) else output
        assert isinstance(states, Tensor), one.path
        vectors = _averaged(states.reshape(*batch.real.shape, -1), shares)
        broken = ~torch.isfinite(vectors).all(1)
        if bool(broken.any()):
            row = int(broken.nonzero()[0])
            raise MeasureError(
                f"{one.path}: the output for sample {batch.sample_ids[row]} is not "
                "finite; are the weights damaged, or is the dtype too narrow?"
            )
        keep(one.place, batch, vectors)

    base = base_model(model)
    try:
        for one in places:
            module = base.get_submodule(one.path)
            handles.append(
                module.register_forward_hook(
                    lambda _module, _inputs, output, one=one: read(one, output)
                )
            )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _averaged(states: Tensor, shares: Tensor) -> Tensor:
    """Mean over the chosen tokens alone: others may hold anything, padding too."""
    chosen = (shares > 0).to(states.device)
    clean = states.float().masked_fill(~chosen[..., None], 0)
    return torch.einsum("st,stw->sw", shares.to(states.device), clean)
