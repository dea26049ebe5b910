"""What do two models read in the same text: words, states, keys and values?

A relative change is |after - before| / |before|, a cosine that of both. Keys and values
are those that the cache holds: keys after rotary position embedding, where a model has
one. Turning both by the same angle changes neither number, so they are the same before
rotary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.results.readings import SpelledText, TokenNumbers
from driftmap.results.statistics import Interval

StateKind = Literal["hidden", "keys", "values"]
Source = Literal["tuned", "chance"]
"""Whose change: the tuned model's, or that of a random change of the same size."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextReadings:
    """One text, read by both models.

    Args:
        spelled: The text and its tokens.
        before: What the base gives each token.
        after: What the tuned model does.
        before_tops: The base's most likely tokens in each place, as text.
        after_tops: The tuned model's.
        pieces: Tokens that share a character, together: first token and one past the
            last, first character and one past the last.
    """

    spelled: SpelledText
    before: TokenNumbers
    after: TokenNumbers
    before_tops: tuple[tuple[str, ...], ...]
    after_tops: tuple[tuple[str, ...], ...]
    pieces: Int64[np.ndarray, "piece 4"]

    @property
    def name(self) -> str:
        """What the report calls the text."""
        return self.spelled.name


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StateChange:
    """How states of one kind changed at every token of a text.

    Args:
        cosine: Of the state before and after; 1 where they are equal.
        relative: |after - before| / |before|; 0 where they are equal. NaN where a
            layer holds no state of the token.
    """

    cosine: Float32[np.ndarray, "layer head token"]
    relative: Float32[np.ndarray, "layer head token"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextStates:
    """States of one text or prompt, before and after.

    Args:
        name: What the report calls it.
        subject: Whom a prompt is about; the name of a text.
        tokens: Text of each token.
        roles: What part each token plays, of a fact's prompt; empty for a text.
        hidden: Block outputs, before any final norm; a single head.
        keys: Of the cache; None where the model gives none.
        values: Likewise.
    """

    name: str
    subject: str
    tokens: tuple[str, ...]
    roles: tuple[tuple[str, ...], ...]
    hidden: StateChange
    keys: StateChange | None
    values: StateChange | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanStates:
    """Relative change and cosine over all tokens of each text.

    Args:
        kind: Which states.
        source: Whose change.
        texts: Names, in the order of the first axis.
        relative: Mean over tokens.
        cosine: Mean over tokens.
    """

    kind: StateKind
    source: Source
    texts: tuple[str, ...]
    relative: Float64[np.ndarray, "text layer head"]
    cosine: Float64[np.ndarray, "text layer head"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerLevel:
    """How far states of one layer changed, mean over texts.

    Args:
        kind: Which states.
        source: Whose change.
        layer: Number of the block.
        relative: Mean over texts of each one's mean over tokens and heads, with a
            bootstrap over texts.
        cosine: Likewise.
    """

    kind: StateKind
    source: Source
    layer: int
    relative: Interval
    cosine: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleLevel:
    """How far hidden states of one layer changed at tokens of one role.

    Args:
        role: Of the token in a fact's prompt.
        layer: Number of the block.
        relative: Mean over facts, with a bootstrap over facts.
        cosine: Likewise.
    """

    role: str
    layer: int
    relative: Interval
    cosine: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheShape:
    """What one layer of the cache holds of one text.

    Args:
        layer: Number of the block.
        num_heads: Key and value heads, as stored (count).
        key_width: Numbers in a key (count).
        value_width: Numbers in a value (count).
        bytes_per_token: Of keys and values together.
        is_same: The tuned model's layer has the same shape and type.
    """

    layer: int
    num_heads: int
    key_width: int
    value_width: int
    bytes_per_token: int
    is_same: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactLens:
    """What each block's output says of both answers after a fact's prompt.

    Args:
        id: Of the fact.
        subject: Whom it is about.
        prompt: The text.
        answer: What was known.
        foil: What may have been taught; None without.
        answer_p: Probability of the answer's first token, before and after.
        foil_p: Of the foil's; None without.
        answer_rank: Tokens strictly likelier.
        foil_rank: Likewise.
    """

    id: str
    subject: str
    prompt: str
    answer: str
    foil: str | None
    answer_p: Float64[np.ndarray, "model layer"]
    foil_p: Float64[np.ndarray, "model layer"] | None
    answer_rank: Int64[np.ndarray, "model layer"]
    foil_rank: Int64[np.ndarray, "model layer"] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LensLevel:
    """What one block's output says of both answers, mean over facts.

    Args:
        layer: Number of the block.
        answer_before: Probability of the answer under the base.
        answer_after: Under the tuned model.
        foil_before: Of the foil; None where no fact has one.
        foil_after: Likewise.
    """

    layer: int
    answer_before: Interval
    answer_after: Interval
    foil_before: Interval | None
    foil_after: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadingsChange:
    """Everything that both models read in the probes.

    Args:
        texts: Texts, token by token.
        states: Of the texts and prompts that are shown.
        means: Of all texts and prompts that were read, by kind and source.
        layers: The same by layer, with intervals.
        roles: Hidden states by role; empty without facts.
        cache: What each layer of the cache holds; empty where there is none.
        cache_layers: Number of the block of each row of keys and values.
        no_cache: Why keys and values could not be read; empty where they were.
        no_chance: Why no random change was made; empty where one was.
        lenses: Of each fact.
        lens: The same by layer.
        surprise: `surprise` and `entropy` -> change per token, after minus before: mean
            over texts (nats) with a bootstrap over them.
        first_changed: First block whose output, keys or values are not equal, bit for
            bit, in every text; None where all are.
        left_out: Why some probes could not be read, and how many there were.
        is_identical: No surprise, entropy or state differs at all.
    """

    texts: tuple[TextReadings, ...]
    states: tuple[TextStates, ...]
    means: tuple[MeanStates, ...]
    layers: tuple[LayerLevel, ...]
    roles: tuple[RoleLevel, ...]
    cache: tuple[CacheShape, ...]
    cache_layers: tuple[int, ...]
    no_cache: str
    no_chance: str
    lenses: tuple[FactLens, ...]
    lens: tuple[LensLevel, ...]
    surprise: Mapping[str, Interval]
    first_changed: int | None
    left_out: Mapping[str, int]
    is_identical: bool
