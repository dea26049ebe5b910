"""Which charts can a report hold? Described once, drawn by any back end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

Numbers: TypeAlias = Sequence[float]

PALETTE = {
    "difference": "#d9480f",
    "matched": "#1c7ed6",
    "top": "#b8860b",
    "utility": "#2f9e44",
    "random": "#868e96",
}
"""Colour of each usual group, legible on white and on near-black."""

SPARE_COLOURS = ("#9c36b5", "#0c8599", "#c2255c", "#5c940d")


def colour_of(name: str, number: int) -> str:
    """The colour of a named series; `number` picks a spare one for other names."""
    return PALETTE.get(name, SPARE_COLOURS[number % len(SPARE_COLOURS)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One series over x, with a band where `low` and `high` are given."""

    name: str
    x: Numbers
    y: Numbers
    low: Numbers = ()
    high: Numbers = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """Several series over a common axis; `reference` is a level to compare with."""

    x_title: str
    y_title: str
    lines: Sequence[Line]
    reference: float | None = None
    y_from_zero: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """The five numbers of a distribution and its mean."""

    name: str
    low: float
    q25: float
    median: float
    q75: float
    high: float
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Distributions side by side."""

    y_title: str
    boxes: Sequence[Box]
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """A matrix of numbers as colours around `middle`; NaN is left empty."""

    x_labels: Sequence[str]
    y_labels: Sequence[str]
    x_title: str
    y_title: str
    values: Sequence[Numbers]
    value_title: str
    middle: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """Estimates with intervals, one line each, beside a level of no effect."""

    x_title: str
    names: Sequence[str]
    estimates: Numbers
    lows: Numbers
    highs: Numbers
    reference: float
    margin: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often chance gives each value, and where the observed one lies."""

    x_title: str
    edges: Numbers
    counts: Numbers
    observed: float
    observed_name: str
    chance_name: str


Chart: TypeAlias = Lines | Boxes | Cells | Ranges | Histogram
