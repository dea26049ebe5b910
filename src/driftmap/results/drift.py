"""How far did weights move between two states of a model, in which sense of far?"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float64, Int64

DriftUnit = Literal["weight", "fragment", "row", "column"]
DriftMetric = Literal[
    "absolute", "relative", "sign_agreement", "l2", "cosine_distance"
]  # fmt: skip

UNIT_METRICS: tuple[tuple[DriftUnit, DriftMetric], ...] = (
    ("weight", "absolute"),
    ("weight", "relative"),
    ("weight", "sign_agreement"),
    ("fragment", "l2"),
    ("fragment", "cosine_distance"),
    ("row", "l2"),
    ("row", "cosine_distance"),
    ("column", "l2"),
    ("column", "cosine_distance"),
)

PublishedMetric = Literal[
    "absolute_change", "relative_change", "cosine_similarity", "l2_distance"
]  # fmt: skip
PUBLISHED_METRICS: tuple[PublishedMetric, ...] = get_args(PublishedMetric)

POOLED_LAYER = -1
"""`layer` of a row that speaks of all matrices together; its `part` is `all`."""

POOLED_PART = "all"

SMALLEST_WEIGHT = 1e-8
"""|W| at and below which a relative change is left out and counted."""

_ROUNDING = 1e-14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Moments:
    """Three inner products per unit, from which every vector metric follows.

    Moments of a larger unit are the sums of those of its parts.

    Args:
        weight: n_W = |W|^2, the unit's size before.
        cross: c = <W, dW>.
        change: n_d = |dW|^2.

    >>> one = np.array([1.0])
    >>> turned = Moments(weight=one, cross=-one, change=2 * one)
    >>> turned.l2.round(4), turned.cosine, turned.cosine_distance
    (array([1.4142]), array([0.]), array([1.]))
    """

    weight: Float64[np.ndarray, " unit"]
    cross: Float64[np.ndarray, " unit"]
    change: Float64[np.ndarray, " unit"]

    @property
    def l2(self) -> Float64[np.ndarray, " unit"]:
        """|dW|."""
        return np.sqrt(self.change)

    @property
    def relative(self) -> Float64[np.ndarray, " unit"]:
        """|dW| / |W|; NaN where W is zero."""
        return _ratio(np.sqrt(self.change), np.sqrt(self.weight), self.weight > 0)

    @property
    def after(self) -> Float64[np.ndarray, " unit"]:
        """n_T = |W + dW|^2."""
        return self.weight + 2 * self.cross + self.change

    @property
    def directed(self) -> Bool[np.ndarray, " unit"]:
        """Units that have a direction before and, beyond rounding, after."""
        largest = self.weight + self.change
        return (self.weight > 0) & (self.after > _ROUNDING * largest)

    @property
    def cosine(self) -> Float64[np.ndarray, " unit"]:
        """Cosine of W and W + dW; NaN where either has no direction."""
        below = np.sqrt(np.maximum(self.weight * self.after, 0))
        return np.clip(_ratio(self.weight + self.cross, below, self.directed), -1, 1)

    @property
    def cosine_distance(self) -> Float64[np.ndarray, " unit"]:
        """1 - cosine without cancellation; NaN where there is no direction.

        For cos > 0: `sin2 = (n_W n_d - c^2) / (n_W n_T)`, `1 - cos = sin2 / (1 + cos)`.
        """
        cosine = self.cosine
        area = np.maximum(0, self.weight * self.change - self.cross**2)
        sin2 = _ratio(area, self.weight * self.after, self.directed)
        return np.where(cosine > 0, sin2 / (1 + np.maximum(cosine, 0)), 1 - cosine)

    def take(self, units: Int64[np.ndarray, " _"]) -> "Moments":
        """Moments of some units, by position."""
        return Moments(
            weight=self.weight[units],
            cross=self.cross[units],
            change=self.change[units],
        )

    def total(self) -> "Moments":
        """Moments of all units together, as one unit."""
        return Moments(
            weight=self.weight.sum(keepdims=True),
            cross=self.cross.sum(keepdims=True),
            change=self.change.sum(keepdims=True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One metric over the units of a group.

    Args:
        count: Units the figures are taken over.
        immobile: Units left out because nothing was tuned where they lie.
        mean: Arithmetic mean; NaN, like all that follow, where `count` is 0.
        std: Standard deviation, ddof 0.
        min: Smallest value.
        q25: Lower quartile, exact, between order statistics linear.
        median: Middle value.
        q75: Upper quartile.
        max: Largest value.
    """

    count: int
    immobile: int
    mean: float
    std: float
    min: float
    q25: float
    median: float
    q75: float
    max: float


def summarise(values: Float64[np.ndarray, " unit"], immobile: int = 0) -> Summary:
    """Describe values by moments and exact quartiles.

    >>> summarise(np.array([4.0, 1.0, 2.0, 3.0])).q25
    1.75
    """
    if values.size == 0:
        mean = std = np.nan
        quartiles = [np.nan] * 5
    else:
        mean, std = float(values.mean()), float(values.std())
        quartiles = _quartiles(values)
    low, q25, median, q75, high = quartiles
    return Summary(
        count=int(values.size),
        immobile=immobile,
        mean=mean,
        std=std,
        min=low,
        q25=q25,
        median=median,
        q75=q75,
        max=high,
    )


def _quartiles(values: Float64[np.ndarray, " unit"]) -> list[float]:
    """Least, quartiles and greatest, without the set-up of `np.quantile`."""
    last = values.size - 1
    places = [last * quarter / 4 for quarter in range(5)]
    below = [int(place) for place in places]
    above = [min(place + 1, last) for place in below]
    ordered = np.partition(values, sorted({*below, *above}))
    return [
        float(ordered[low] + (ordered[high] - ordered[low]) * (place - low))
        for place, low, high in zip(places, below, above, strict=True)
    ]


def _ratio(
    above: Float64[np.ndarray, " unit"],
    below: Float64[np.ndarray, " unit"],
    defined: Bool[np.ndarray, " unit"],
) -> Float64[np.ndarray, " unit"]:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=defined)
