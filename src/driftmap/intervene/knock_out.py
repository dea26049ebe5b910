"""What does a model say when some positions may not look at others, in some layers?

An edge from a query to a key is cut in the mask, before the softmax: its weight is 0
and the other keys share the whole, so that a row still sums to 1 (less a learned sink).
Each sample has its own cuts, so that many questions go through in one batch.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from driftmap.core.errors import MeasureError
from driftmap.families.attention import changing_masks
from driftmap.results.attention import AttentionPlace
from driftmap.signals.attention import AttentionCall


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEdges:
    """Edges that are gone for one sample.

    Args:
        layers: Numbers of the blocks in which they are cut.
        queries: Positions that may not look.
        keys: Positions that they may not look at.
    """

    layers: frozenset[int] = frozenset()
    queries: tuple[int, ...] = ()
    keys: tuple[int, ...] = ()


def knocked_out(
    model: nn.Module, places: Sequence[AttentionPlace], cut: Sequence[CutEdges]
) -> AbstractContextManager[None]:
    """Cut edges of attention for as long as the block runs.

    Args:
        model: With or without adapters. It must read whole texts, without a cache.
        places: From `find_attention`.
        cut: One for each sample of the batch that is then run.

    Raises:
        MeasureError: While the model runs: a query is left without any edge, the batch
            has another size, or the model's masks cannot be changed.
    """

    def change(call: AttentionCall) -> object:
        place = places[call.place]
        own = [edges if place.layer in edges.layers else CutEdges() for edges in cut]
        if not any(edges.queries and edges.keys for edges in own):
            return call.mask
        mask = _own_mask(call, place, len(own))
        for number, edges in enumerate(own):
            _cut(mask[number], edges)
            _require_edges(mask[number], edges, place, number)
        return mask

    return changing_masks(model, [place.path for place in places], change)


def _own_mask(call: AttentionCall, place: AttentionPlace, num_samples: int) -> Tensor:
    """A copy of the mask with a row for each sample; the causal one where none is."""
    mask = call.mask
    if mask is None and call.query is not None:
        length = call.query.shape[2]
        ones = torch.ones(length, length, dtype=torch.bool, device=call.query.device)
        mask = ones.tril()[None, None]
    if not isinstance(mask, Tensor) or mask.ndim != 4:
        raise MeasureError(
            f"{place.path}: this way to attend takes no mask of queries by keys; load "
            "the model with attn_implementation='sdpa' or 'eager'"
        )
    found = num_samples if call.query is None else call.query.shape[0]
    if found != num_samples or mask.shape[0] not in (1, num_samples):
        raise MeasureError(
            f"{place.path}: edges are cut for {num_samples} samples, and the batch has "
            f"{max(found, mask.shape[0])}; say for every sample what is cut"
        )
    return mask.expand(num_samples, *mask.shape[1:]).clone()


def _cut(mask: Tensor, edges: CutEdges) -> None:
    hidden = False if mask.dtype == torch.bool else torch.finfo(mask.dtype).min
    for query in edges.queries:
        mask[:, query, list(edges.keys)] = hidden


def _require_edges(
    mask: Tensor, edges: CutEdges, place: AttentionPlace, number: int
) -> None:
    """Refuse a query that may look at nothing: its softmax would be of nothing."""
    seen = mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2
    for query in edges.queries:
        if not seen[:, query].any(dim=-1).all():
            raise MeasureError(
                f"{place.path}: sample {number}: position {query} is left without any "
                "key to look at; leave one of them, such as the first token"
            )
