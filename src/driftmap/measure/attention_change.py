"""How far did a row of attention move, and how much of it lies on some tokens?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from driftmap.results.attention import AttentionRows
from driftmap.results.attention_change import WordMass


def row_divergence(
    before: AttentionRows, after: AttentionRows
) -> Float32[np.ndarray, "place head"]:
    """Jensen-Shannon divergence (nats) of each head's two rows, a sink among the keys.

    0 for equal rows, ln 2 for rows that share no key; NaN for heads that a place does
    not have.

    Args:
        before: Of one query, in one model.
        after: Of the same query, in the other.
    """
    one, other = _with_sink(before), _with_sink(after)
    middle = (one + other) / 2
    found = (_relative(one, middle) + _relative(other, middle)) / 2
    return np.maximum(found, 0).astype(np.float32)


def word_mass(
    before: AttentionRows,
    after: AttentionRows,
    tokens: Sequence[int],
    control: tuple[int, int] | None,
) -> WordMass:
    """Weight on some tokens in both models; NaN where these are a text's first alone.

    Args:
        before: Of one query, in one model.
        after: Of the same query, in the other.
        tokens: Numbers of the tokens; the first of a text is left out.
        control: First of as many tokens elsewhere and one past the last; None where
            there is no room.
    """
    own = [token for token in tokens if token] or None
    others = None if control is None else range(*control)
    return WordMass(
        before=_on(before, own),
        after=_on(after, own),
        control_before=_on(before, others),
        control_after=_on(after, others),
    )


def _with_sink(rows: AttentionRows) -> np.ndarray:
    weights = np.concatenate([rows.weights, rows.sink_mass[..., None]], axis=-1)
    return weights.astype(np.float64)


def _relative(one: np.ndarray, middle: np.ndarray) -> np.ndarray:
    ratio = np.divide(one, middle, out=np.ones_like(one), where=one > 0)
    total = (one * np.log(ratio)).sum(axis=-1)
    return np.where(np.isnan(one).any(axis=-1), np.nan, total)


def _on(rows: AttentionRows, tokens: Sequence[int] | None) -> np.ndarray:
    if tokens is None:
        return np.full(rows.weights.shape[:-1], np.nan, dtype=np.float32)
    return rows.weights[..., list(tokens)].sum(axis=-1)
