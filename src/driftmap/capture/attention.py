"""To which tokens do chosen positions attend, without changing the model's numbers?

The model's own attention gives the output; beside it, only the rows that are asked for
are formed, in float32: `softmax(scaling Q_row K^T)` under the cap, bias, mask and sink
of the call. A row is handed on and dropped, so that no layer's whole map is held, nor
the rows of two layers at once.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor, nn
from torch.nn.attention.flex_attention import BlockMask

from driftmap.core.errors import MeasureError
from driftmap.families.attention import seeing
from driftmap.results.attention import AttentionPlace
from driftmap.signals.attention import AttentionCall, AttentionSignal, TakeAttention

WEIGHTS_AT_ONCE = 1 << 22
"""Weights that are formed together where every row is asked for (count)."""


@contextmanager
def observing(
    model: nn.Module,
    places: Sequence[AttentionPlace],
    rows: Int64[Tensor, "sample row"] | None,
    take: TakeAttention,
) -> Iterator[None]:
    """Hand on rows of attention whenever the model runs inside the block.

    Logits are those of the model alone, bit for bit. The model must read whole texts,
    without a cache.

    Args:
        model: With or without adapters, in eval mode.
        places: From `find_attention`.
        rows: Positions of queries, as many for each sample; None for every row, in
            pieces.
        take: Takes the rows of each place in turn, and keeps what it needs of them.

    Raises:
        MeasureError: When the block ends: a place was not reached, or the model ran on
            keys of an earlier call.
    """
    seen: set[int] = set()

    def see(call: AttentionCall) -> None:
        seen.add(call.place)
        with torch.no_grad():
            for some in _pieces(call, rows):
                take(_signal(call, some, places))

    with seeing(model, [place.path for place in places], see):
        yield
    missed = [place.path for n, place in enumerate(places) if n not in seen]
    if missed:
        raise MeasureError(
            f"{missed[0]}: it did not attend while it was watched; run the whole model "
            "inside the block"
        )


def _pieces(
    call: AttentionCall, rows: Tensor | None
) -> Iterator[Int64[Tensor, "sample row"]]:
    """The rows to form together."""
    shown = call.query if call.map is None else call.map
    assert shown is not None
    num_samples, num_heads, length = shown.shape[:3]
    if rows is not None:
        yield rows.to(shown.device)
        return
    size = max(1, WEIGHTS_AT_ONCE // (num_samples * num_heads * length))
    for piece in torch.arange(length, device=shown.device).split(size):
        yield piece.expand(num_samples, -1)


def _signal(
    call: AttentionCall, rows: Tensor, places: Sequence[AttentionPlace]
) -> AttentionSignal:
    if call.map is not None:
        weights = _rows_of(call.map, rows).float()
        return AttentionSignal(
            place=call.place,
            rows=rows,
            weights=weights,
            sink=weights.new_zeros(weights.shape[:-1]),
            visible=weights.gt(0).any(dim=1),
            value=None,
        )
    assert call.query is not None
    assert call.key is not None
    if call.key.shape[2] != call.query.shape[2]:
        raise MeasureError(
            f"{places[call.place].path}: {call.query.shape[2]} queries look at "
            f"{call.key.shape[2]} keys; read whole texts, with use_cache=False"
        )
    logits = _logits(call, rows)
    visible, logits = _masked(call, rows, logits)
    weights, sink = _softmax(logits, call.sinks)
    return AttentionSignal(
        place=call.place,
        rows=rows,
        weights=weights,
        sink=sink,
        visible=visible.any(dim=1),
        value=call.value,
    )


def _logits(
    call: AttentionCall, rows: Tensor
) -> Float32[Tensor, "sample head row key"]:
    """Scaled products of some queries with all keys, capped, before any mask."""
    assert call.query is not None
    assert call.key is not None
    query, key = _rows_of(call.query, rows).float(), call.key.float()
    num_samples, num_heads, num_rows, width = query.shape
    by_key_head = query.reshape(num_samples, key.shape[1], -1, width)
    products = by_key_head @ key.transpose(-1, -2)
    products = products.reshape(num_samples, num_heads, num_rows, -1)
    products = products * (width**-0.5 if call.scaling is None else call.scaling)
    if call.softcap is not None:
        products = torch.tanh(products / call.softcap) * call.softcap
    if call.bias is not None:
        products = products + _rows_of(call.bias, rows).float()
    return products


def _masked(
    call: AttentionCall, rows: Tensor, logits: Tensor
) -> tuple[Bool[Tensor, "sample _ row key"], Tensor]:
    """What may be seen, and the logits with the rest put out of sight."""
    mask = call.mask
    if isinstance(mask, BlockMask):  # of flex attention: a function of two places
        sample = torch.arange(len(rows), device=rows.device)[:, None, None]
        keys = torch.arange(logits.shape[-1], device=rows.device)
        seen = mask.mask_mod(sample, torch.zeros_like(sample), rows[..., None], keys)
        own = seen.expand(*rows.shape, len(keys))[:, None]
        return own, logits.masked_fill(~own, -torch.inf)
    if mask is not None and not isinstance(mask, Tensor):
        raise MeasureError(
            f"the attention mask is a {type(mask).__name__}, which cannot be read row "
            "by row; load the model with attn_implementation='sdpa'"
        )
    if mask is None or mask.ndim == 2:
        visible = _causal(call, rows, mask)[:, None]
        return visible, logits.masked_fill(~visible, -torch.inf)
    own = _rows_of(mask.expand(rows.shape[0], *mask.shape[1:]), rows)
    own = own[..., : logits.shape[-1]]
    if own.dtype == torch.bool:
        return own, logits.masked_fill(~own, -torch.inf)
    visible = own > torch.finfo(own.dtype).min / 2
    return visible, (logits + own.float()).masked_fill(~visible, -torch.inf)


def _causal(
    call: AttentionCall, rows: Tensor, padding: Tensor | None
) -> Bool[Tensor, "sample row key"]:
    """What a query sees where no mask was built: all up to itself, in its window."""
    assert call.key is not None
    keys = torch.arange(call.key.shape[2], device=rows.device)
    visible = keys <= rows[..., None]
    if call.window is not None:
        visible = visible & (keys > rows[..., None] - call.window)
    if padding is not None:
        visible = visible & padding.bool()[:, None]
    return visible


def _softmax(
    logits: Tensor, sinks: Tensor | None
) -> tuple[Float32[Tensor, "sample head row key"], Float32[Tensor, "sample head row"]]:
    if sinks is None:
        return logits.softmax(dim=-1), logits.new_zeros(logits.shape[:-1])
    sink = sinks.float().reshape(1, -1, 1, 1).expand(*logits.shape[:-1], 1)
    weights = torch.cat([logits, sink], dim=-1).softmax(dim=-1)
    return weights[..., :-1], weights[..., -1]


def _rows_of(tensor: Tensor, rows: Tensor) -> Tensor:
    """Rows `[sample row]` out of `[sample head query _]`."""
    index = rows[:, None, :, None].expand(-1, tensor.shape[1], -1, tensor.shape[3])
    return tensor.gather(2, index)
