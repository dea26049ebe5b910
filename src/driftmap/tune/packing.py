"""How do rows of different lengths lie side by side, so that no work goes to padding?

Rows in one bin attend to themselves alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional
from transformers import LlamaForCausalLM, OlmoeForCausalLM

from driftmap.results.curriculum import WeightedRow

Decoder = LlamaForCausalLM | OlmoeForCausalLM


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackedRows:
    """Rows side by side in bins of equal length.

    Args:
        token_ids: Ids, zero where a bin is not full.
        positions: Place of each token in its own row.
        filled: Whether a row's token stands there; False in gaps.
        visible: Whether the token may look at the earlier one.
        targets: Id that each token predicts.
        weights: How much that prediction counts; 0 at ends of rows and in gaps.
    """

    token_ids: Int64[Tensor, "bin token"]
    positions: Int64[Tensor, "bin token"]
    filled: Bool[Tensor, "bin token"]
    visible: Bool[Tensor, "bin 1 token token"]
    targets: Int64[Tensor, "bin token"]
    weights: Float[Tensor, "bin token"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reading:
    """What a pass over packed rows shows.

    Args:
        hidden: Output of the last layer.
        router_logits: Per bank of experts, one row per place in the bins; none where
            they were not asked for.
    """

    hidden: Float[Tensor, "bin token hidden"]
    router_logits: tuple[Float[Tensor, "place expert"], ...]


def weighted_loss(model: Decoder, packed: PackedRows) -> Float[Tensor, ""]:
    """Mean cross-entropy of the next token, each token with its weight, in nats."""
    return weighted_nats(model, read(model, packed).hidden, packed)


def read(model: Decoder, packed: PackedRows, *, with_routers: bool = False) -> Reading:
    """Pass rows through all layers of a model, up to its head."""
    shown = model.model(
        input_ids=packed.token_ids,
        position_ids=packed.positions,
        attention_mask=packed.visible,
        use_cache=False,
        **({"output_router_logits": True} if with_routers else {}),
    )
    return Reading(
        hidden=shown.last_hidden_state,
        router_logits=shown.router_logits if with_routers else (),
    )


def weighted_nats(
    model: Decoder, hidden: Float[Tensor, "bin token hidden"], packed: PackedRows
) -> Float[Tensor, ""]:
    """Mean cross-entropy of the next token from the last layer's output, in nats."""
    counted = packed.weights > 0
    logits = model.lm_head(hidden[counted])
    weights = packed.weights[counted]
    nats = functional.cross_entropy(logits, packed.targets[counted], reduction="none")
    return (nats * weights).sum() / weights.sum()


def pack(rows: Sequence[WeightedRow], bin_tokens: int | None = None) -> PackedRows:
    """Lay rows into as few bins as a greedy search finds, longest rows first.

    Args:
        rows: At least one row.
        bin_tokens: Length of a bin; that of the longest row by default or if greater.

    Returns:
        Bins of one length.
    """
    length = max(bin_tokens or 0, *(len(row.token_ids) for row in rows))
    bins: list[list[WeightedRow]] = []
    room: list[int] = []
    for row in sorted(rows, key=lambda row: -len(row.token_ids)):
        size = len(row.token_ids)
        fitting = next((k for k, free in enumerate(room) if free >= size), None)
        if fitting is None:
            bins.append([row])
            room.append(length - size)
        else:
            bins[fitting].append(row)
            room[fitting] -= size
    return _lay_out(bins, length)


def _lay_out(bins: Sequence[Sequence[WeightedRow]], length: int) -> PackedRows:
    ids, positions, targets, owners = np.zeros((4, len(bins), length), dtype=np.int64)
    weights = np.zeros((len(bins), length), dtype=np.float32)
    for number, content in enumerate(bins):
        start = 0
        for owner, row in enumerate(content, start=1):
            stop = start + len(row.token_ids)
            ids[number, start:stop] = row.token_ids
            positions[number, start:stop] = np.arange(stop - start)
            owners[number, start:stop] = owner
            targets[number, start : stop - 1] = row.token_ids[1:]
            weights[number, start : stop - 1] = row.weights[1:]
            start = stop
    owner = torch.from_numpy(owners)
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    same = owner[:, :, None] == owner[:, None, :]
    return PackedRows(
        token_ids=torch.from_numpy(ids),
        positions=torch.from_numpy(positions),
        filled=owner > 0,
        visible=(same & earlier)[:, None],
        targets=torch.from_numpy(targets),
        weights=torch.from_numpy(weights),
    )
