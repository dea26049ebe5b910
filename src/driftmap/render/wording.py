"""Which words does every report use for the same thing?"""

from dataclasses import dataclass, replace
from math import isfinite

from driftmap.results.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWords:
    """How a metric is introduced to a reader.

    Args:
        title: Name with its unit.
        direction: Which direction means more drift.
        fragile: What reading A, fragile weights, would look like.
        pathway: What reading B, pathway creation, would look like.
    """

    title: str
    direction: str
    fragile: str
    pathway: str

    @property
    def reading(self) -> str:
        """All three as running text."""
        return (
            f"{self.direction} If the behaviour's weights are fragile (A), "
            f"{self.fragile} If tuning creates another pathway (B), {self.pathway}"
        )


METRICS = {
    "absolute": MetricWords(
        title="Absolute change |dW| (weight units)",
        direction="Higher means more drift.",
        fragile="`difference` lies clearly above `matched`.",
        pathway="`difference` lies at or below `matched` although the behaviour "
        "changed.",
    ),
    "relative": MetricWords(
        title="Relative change |dW| / |W| (ratio)",
        direction="Higher means more drift for the weight's own size; groups whose "
        "weights are large look still.",
        fragile="`difference` lies above `matched`, which has the same sizes.",
        pathway="`difference` lies at or below `matched`; a comparison with `random` "
        "says nothing, because its weights are smaller.",
    ),
    "l2": MetricWords(
        title="L2 distance (weight units)",
        direction="Higher means more drift; it grows with the number of weights.",
        fragile="`difference` moves further than `matched`.",
        pathway="both move alike, or `difference` less.",
    ),
    "cosine_distance": MetricWords(
        title="Cosine distance 1 - cos (0 to 2)",
        direction="Higher means that the direction turned more; 0 means that it was "
        "kept.",
        fragile="`difference` turns more than `matched`.",
        pathway="both turn alike, or `difference` less.",
    ),
    "sign_agreement": MetricWords(
        title="Sign agreement (share of weights with their old sign)",
        direction="Lower means more drift: 1 means that no weight changed its sign.",
        fragile="`difference` agrees less than `matched`.",
        pathway="both agree alike, or `difference` more.",
    ),
}

UNITS = {
    "weight": "",
    "fragment": " of the group's part of a row",
    "row": " of whole rows that hold a weight of the group",
    "column": " of whole columns that hold a weight of the group",
}


def metric_words(unit: str, metric: str) -> MetricWords:
    """The words of a metric over units of one kind."""
    words = METRICS[metric]
    name, _, scale = words.title.partition(" (")
    return replace(words, title=f"{name}{UNITS[unit]} ({scale}")


def number(value: float | None) -> str:
    """Write a number with four digits that mean something.

    >>> number(0.000123456), number(12.3456), number(None), number(0.0)
    ('0.0001235', '12.35', '–', '0')
    """
    if value is None or not isfinite(value):
        return "–"
    return f"{value:.4g}"


def p_value(value: float | None, num_draws: int) -> str:
    """Write a permutation p-value; the smallest possible one is a bound.

    >>> p_value(0.001, 999), p_value(0.0421, 999), p_value(None, 0)
    ('≤ 0.001', '0.042', '–')
    """
    if value is None:
        return "–"
    least = 1 / (1 + num_draws)
    return f"≤ {least:.3g}" if value <= least * 1.0001 else f"{value:.3f}"


def interval(value: Interval | None) -> str:
    """Write an estimate with its interval.

    >>> interval(Interval(estimate=1.2, low=1.1, high=1.31, level=0.95, num=3))
    '1.20 (1.10 to 1.31)'
    """
    if value is None:
        return "–"
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def percent(value: float) -> str:
    """Write a share.

    >>> percent(0.0213)
    '2.1 %'
    """
    return f"{100 * value:.1f} %"
