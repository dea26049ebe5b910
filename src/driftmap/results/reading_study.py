"""What does a page on readings of tokens show?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.provenance import ModelIdentity
from driftmap.results.readings import (
    LensReadings,
    StretchReading,
    TextSummary,
    TokenReadings,
)

Shown = Literal["surprise", "entropy", "relative-entropy"]
"""What colours stand for; the last is entropy divided by the most that it can be."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadingSet:
    """All texts that a run read, in order."""

    readings: tuple[TokenReadings, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextLens:
    """The lens of one text.

    Args:
        name: Of the text.
        lens: The numbers.
        tokens: Text of the token that each position should say.
        tops: By layer, then position: the token that it says.
        num_left_out: Later tokens that were not looked at (count).
    """

    name: str
    lens: LensReadings
    tokens: tuple[str, ...]
    tops: tuple[tuple[str, ...], ...]
    num_left_out: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LensSet:
    """The lens of all texts of a run, in order."""

    lenses: tuple[TextLens, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadText:
    """One text, as the page shows it.

    Args:
        readings: All numbers.
        summary: On the whole.
        characters: What is coloured: tokens, those of one character together.
        words: By spaces.
        sentences: By the marks that end them.
        wrong: Tokens where the model was sure of something else, by number.
    """

    readings: TokenReadings
    summary: TextSummary
    characters: tuple[StretchReading, ...]
    words: tuple[StretchReading, ...]
    sentences: tuple[StretchReading, ...]
    wrong: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadingStudy:
    """Everything that the page says.

    Args:
        texts: One or more.
        lenses: Of each text; empty where none was asked for.
        shown: What the terminal colours by.
        sure_below: Entropy below which the model counts as sure (nats).
        wrong_above: Surprise above which it counts as wrong (nats).
        model: The model.
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """

    texts: tuple[ReadText, ...]
    lenses: tuple[TextLens, ...]
    shown: Shown
    sure_below: float
    wrong_above: float
    model: ModelIdentity
    settings: Mapping[str, object]
    versions: Mapping[str, str]
