"""What do rows of attention say, place by place and head by head?

A fold keeps the rows of one text that are asked for. Of whole maps, which come piece by
piece, it keeps two sums: what each key receives, and the running product that rollout
is (Abnar and Zuidema, 2005.00928). Weights are set beside the length of what a head
writes of each token, `alpha |v W_O|` (Kobayashi et al., 2004.10102): a large weight on
a short value moves little.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from driftmap.results.attention import (
    AttentionMaps,
    AttentionNumbers,
    AttentionPrompt,
    AttentionQuery,
    AttentionRows,
)
from driftmap.results.trace_kinds import ROLES
from driftmap.signals.attention import AttentionSignal

Writing = Float32[Tensor, "head value_width value_width"]


class AttentionFold:
    """Keeps what is asked of one text's attention.

    Args:
        prompt_id: Whose it is.
        queries: Rows to keep.
        length: Tokens that are fed (count).
        writing: By place, from `writing_of`; places without one show no lengths.
        is_whole: Every row comes: keep received weight and rollout as well.
        keeps_maps: Keep all rows of a text whose rows all come.
    """

    def __init__(
        self,
        prompt_id: str,
        queries: Sequence[AttentionQuery],
        length: int,
        writing: Mapping[int, Writing],
        *,
        is_whole: bool,
        keeps_maps: bool = False,
    ) -> None:
        self._prompt_id = prompt_id
        self._queries = tuple(queries)
        self._writing = writing
        self._is_whole = is_whole
        self._keeps_maps = is_whole and keeps_maps
        self._maps: dict[int, list[Tensor]] = {}
        self._weights: dict[int, dict[int, Tensor]] = {}
        self._sinks: dict[int, dict[int, Tensor]] = {}
        self._seen: dict[int, dict[int, int]] = {}
        self._lengths: dict[int, Tensor] = {}
        self._received: dict[int, tuple[Tensor, Tensor]] = {}
        self._mixed = torch.eye(length)
        self._next = torch.zeros(length, length)
        self._rollouts: dict[int, Tensor] = {}

    def take(self, signal: AttentionSignal) -> None:
        """Keep what is needed of some rows of one place.

        Args:
            signal: Of a batch of this text alone.
        """
        place = signal.place
        wanted = {query.position for query in self._queries}
        for number, row in enumerate(signal.rows[0].tolist()):
            if row in wanted:
                # A view would hold all rows that came with this one.
                weights = signal.weights[0, :, number].clone().cpu()
                self._weights.setdefault(place, {})[row] = weights
                sink = signal.sink[0, :, number].clone().cpu()
                self._sinks.setdefault(place, {})[row] = sink
                seen = int(signal.visible[0, number].sum())
                self._seen.setdefault(place, {})[row] = seen
        writing = None if place in self._lengths else self._writing.get(place)
        if signal.value is not None and writing is not None:
            self._lengths[place] = written_lengths(signal.value[0], writing).cpu()
        if self._is_whole:
            self._take_whole(signal)

    def result(self) -> tuple[AttentionRows, ...]:
        """What was kept, one for each query."""
        return tuple(self._rows(query) for query in self._queries)

    def maps(self) -> tuple[AttentionMaps, ...]:
        """The whole maps, if they were kept."""
        if not self._maps:
            return ()
        whole = [torch.cat(self._maps[place], dim=1) for place in sorted(self._maps)]
        return (AttentionMaps(prompt_id=self._prompt_id, weights=_stacked(whole)),)

    def _take_whole(self, signal: AttentionSignal) -> None:
        place, rows = signal.place, signal.rows[0].cpu()
        weights = signal.weights[0].cpu()
        if self._keeps_maps:
            self._maps.setdefault(place, []).append(weights)
        total, times = self._received.get(place, (0, 0))
        self._received[place] = (
            total + weights.sum(dim=1),
            times + signal.visible[0].cpu().sum(dim=0),
        )
        own = weights / weights.sum(dim=-1, keepdim=True)  # a learned sink is no token
        mean = own.mean(dim=0)
        self._next[rows] = (mean @ self._mixed + self._mixed[rows]) / 2
        if int(rows[-1]) == len(self._mixed) - 1:
            self._mixed, self._next = self._next, torch.zeros_like(self._next)
            positions = [query.position for query in self._queries]
            self._rollouts[place] = self._mixed[positions]

    def _rows(self, query: AttentionQuery) -> AttentionRows:
        at = query.position
        places = sorted(self._weights)
        weights = _stacked([self._weights[place][at] for place in places])
        written = None
        if len(self._lengths) == len(places):
            lengths = [self._lengths[place] for place in places]
            written = weights * _stacked(lengths)
        received = rollout = None
        if self._is_whole:
            parts = [self._received[place] for place in places]
            received = _stacked([total / times for total, times in parts])
            number = self._queries.index(query)
            rollout = np.stack([self._rollouts[p][number].numpy() for p in places])
        return AttentionRows(
            prompt_id=self._prompt_id,
            query=query,
            weights=weights,
            sink_mass=_stacked([self._sinks[place][at] for place in places]),
            num_seen=np.array([self._seen[place][at] for place in places]),
            value_weighted=written,
            received=received,
            rollout=rollout,
        )


def writing_of(output: Float[Tensor, "row column"], num_heads: int) -> Writing:
    """W_O^T W_O of every head: with it the length of v W_O needs no wide product.

    Args:
        output: The matrix that all heads go through, `[out in]`.
        num_heads: Heads whose outputs are its inputs, side by side (count).
    """
    by_head = output.float().reshape(len(output), num_heads, -1)
    return torch.einsum("rhi,rhj->hij", by_head, by_head)


def written_lengths(
    value: Float[Tensor, "key_head key value_width"], writing: Writing
) -> Float32[Tensor, "head key"]:
    """Length of what each head would write of each token, `|v W_O|`.

    >>> writing = writing_of(torch.tensor([[3.0, 0.0], [4.0, 2.0]]), 2)
    >>> written_lengths(torch.tensor([[[1.0], [2.0]]]), writing).tolist()
    [[5.0, 10.0], [2.0, 4.0]]
    """
    own = value.float().repeat_interleave(len(writing) // len(value), dim=0)
    squares = torch.einsum("hki,hij,hkj->hk", own, writing.to(own.device), own)
    return squares.clamp(min=0).sqrt()


def attention_numbers(rows: AttentionRows, prompt: AttentionPrompt) -> AttentionNumbers:
    """Say in a number per head where a row's weight lies.

    Args:
        rows: Of one query.
        prompt: Whose it is.
    """
    weights = rows.weights
    nothing = np.full(weights.shape[:-1], np.nan, dtype=np.float32)
    by_role: list[np.ndarray] = []
    for role in ROLES:
        players = [n for n, own in enumerate(prompt.roles) if n and role in own]
        by_role.append(_mass(weights, players) if players else nothing)
    return AttentionNumbers(
        prompt_id=rows.prompt_id,
        query=rows.query,
        first_mass=weights[..., 0],
        sink_mass=rows.sink_mass,
        subject_mass=_span_mass(weights, prompt.subject, nothing),
        control_mass=_span_mass(weights, prompt.control, nothing),
        role_mass=np.stack(by_role),
        sharpness=_sharpness(weights, rows.num_seen),
        mean_weights=np.nanmean(weights, axis=1),
    )


def _mass(weights: np.ndarray, tokens: Sequence[int]) -> np.ndarray:
    return weights[..., list(tokens)].sum(axis=-1)


def _span_mass(
    weights: np.ndarray, span: tuple[int, int] | None, nothing: np.ndarray
) -> np.ndarray:
    """On a span, the first token left out; NaN without one."""
    if span is None or span[1] <= 1:
        return nothing
    return _mass(weights, range(max(span[0], 1), span[1]))


def _sharpness(weights: np.ndarray, num_seen: np.ndarray) -> np.ndarray:
    own = weights / weights.sum(axis=-1, keepdims=True)
    surprise = np.log(own, out=np.zeros_like(own), where=own > 0)
    entropy = -(own * surprise).sum(axis=-1)
    most = np.log(np.maximum(num_seen, 1)).astype(np.float32)[:, None]
    share = np.divide(entropy, most, out=np.zeros_like(entropy), where=most > 0)
    return np.where(np.isnan(entropy), np.nan, 1 - share).astype(np.float32)


def _stacked(parts: Sequence[Tensor]) -> np.ndarray:
    """One array of all places; heads that a place does not have are NaN."""
    most = max(len(part) for part in parts)
    found = np.full((len(parts), most, *parts[0].shape[1:]), np.nan, dtype=np.float32)
    for number, part in enumerate(parts):
        found[number, : len(part)] = part.numpy()
    return found
