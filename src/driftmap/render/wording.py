"""Which words does every report use for the same thing?"""

from dataclasses import dataclass, replace
from math import floor, isfinite, log, log10
from pathlib import PurePosixPath

from driftmap.results.rules import DECLARED
from driftmap.results.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricWords:
    """How a metric is introduced to a reader.

    Args:
        title: Name with its unit.
        direction: Which direction means more drift.
        fragile: What reading A, fragile weights, would look like; empty where groups
            cannot be compared. `{group}` stands for the declared group.
        pathway: What reading B, pathway creation, would look like.
        caution: Why groups cannot be compared; empty where they can.
    """

    title: str
    direction: str
    fragile: str = ""
    pathway: str = ""
    caution: str = ""

    @property
    def name(self) -> str:
        """The title without its unit."""
        return self.title.partition(" (")[0]

    @property
    def unit(self) -> str:
        """The unit alone."""
        return self.title.rpartition(" (")[2].rstrip(")")

    @property
    def reading(self) -> str:
        """Direction and readings as running text."""
        if not self.fragile:
            return self.direction
        return (
            f"{self.direction} If the behaviour's weights are fragile (A), "
            f"{self.fragile} If tuning creates another pathway (B), {self.pathway}"
        )


METRICS = {
    "absolute": MetricWords(
        title="Absolute change |dW| (weight units)",
        direction="Higher means more drift.",
        fragile="`{group}` lies clearly above `matched`.",
        pathway="`{group}` lies at or below `matched` although the behaviour changed.",
    ),
    "relative": MetricWords(
        title="Relative change |dW| / |W| (ratio)",
        direction="Higher means more drift for the weight's own size; groups whose "
        "weights are large look still.",
        fragile="`{group}` lies above `matched`, which has the same sizes.",
        pathway="`{group}` lies at or below `matched`; a comparison with `random` "
        "says nothing, because its weights are smaller.",
    ),
    "l2": MetricWords(
        title="L2 distance (weight units)",
        direction="Higher means more drift; it grows with the number of weights.",
    ),
    "cosine_distance": MetricWords(
        title="Cosine distance (1 - cos, 0 to 2)",
        direction="Higher means that the direction turned more; 0 means that it was "
        "kept. It does not grow with length, but small parts turn more easily.",
    ),
    "sign_agreement": MetricWords(
        title="Sign agreement (share)",
        direction="Share of weights with their old sign. Lower means more drift; 1 "
        "means that no weight changed its sign.",
        fragile="`{group}` agrees less than `matched`.",
        pathway="both agree alike, or `{group}` more.",
    ),
}

OTHER_PLACES = (
    "Whole rows or columns hold mostly weights of no group, and a clustered group "
    "lies in other and fewer ones than its control."
)

CAUTIONS = {
    ("fragment", "l2"): "A clustered group has more weights in each row than its "
    "control, and so a larger distance even where every weight drifts alike.",
    ("fragment", "cosine_distance"): "A clustered group has more weights in each row "
    "than its control, and a single weight cannot turn at all.",
    ("row", "l2"): OTHER_PLACES,
    ("row", "cosine_distance"): OTHER_PLACES,
    ("column", "l2"): OTHER_PLACES,
    ("column", "cosine_distance"): OTHER_PLACES,
}
"""Why a unit and metric do not compare groups of different clustering."""

UNUSED = " The declared test does not use it."

UNITS = {
    "weight": "",
    "fragment": " of the group's part of a row",
    "row": " of whole rows that hold a weight of the group",
    "column": " of whole columns that hold a weight of the group",
}


def metric_words(unit: str, metric: str, group: str = DECLARED) -> MetricWords:
    """The words of a metric over units of one kind, for one declared group."""
    words = METRICS[metric]
    name, _, scale = words.title.partition(" (")
    return replace(
        words,
        title=f"{name}{UNITS[unit]} ({scale}",
        fragile=words.fragile.format(group=group),
        pathway=words.pathway.format(group=group),
        caution=CAUTIONS[unit, metric] + UNUSED if (unit, metric) in CAUTIONS else "",
    )


def number(value: float | None) -> str:
    """Write a number with three digits that mean something, more just below 1.

    >>> number(0.000123456), number(12.3456), number(None), number(0.0)
    ('1.23e-4', '12.3', '–', '0')
    >>> number(1234.5), number(-0.5), number(float("nan"))
    ('1,234', '-0.5', '–')
    >>> number(0.9999866), number(0.9996), number(1.0)
    ('0.999987', '0.9996', '1')
    """
    if value is None or not isfinite(value):
        return "–"
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    if 1e-9 < 1 - value < 0.0005:
        return f"{value:.{1 - floor(log10(1 - value))}f}".rstrip("0")
    if value == 0 or abs(value) >= 0.001:
        return f"{value:.3g}"
    digits, _, power = f"{value:.2e}".partition("e")
    return f"{digits}e{int(power)}"


def p_value(value: float | None, num_draws: int) -> str:
    """Write a permutation p-value; the smallest possible one is a bound.

    >>> p_value(0.001, 999), p_value(0.0421, 999), p_value(None, 0)
    ('≤ 0.001', '0.042', '–')
    """
    if value is None or not isfinite(value):
        return "–"
    least = 1 / (1 + num_draws)
    return f"≤ {least:.2g}" if value <= least * 1.0001 else f"{value:.3f}"


def interval(value: Interval | None) -> str:
    """Write an estimate with its interval.

    >>> interval(Interval(estimate=1.2, low=1.1, high=1.31, level=0.95, num=3))
    '1.20 (1.10 to 1.31)'
    """
    if value is None:
        return "–"
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def ratio(value: float) -> str:
    """Write a ratio; empty where there is none.

    >>> ratio(1.0), ratio(0.973), ratio(12.34), ratio(float("nan"))
    ('1.00', '0.97', '12.3', '')
    """
    if not isfinite(value) or value <= 0:
        return ""
    return f"{value:.2f}" if value < 10 else number(value)


def share(value: float) -> str:
    """Write a share of 0 to 1, or what is near one; empty where there is none.

    >>> share(0.304), share(0.00503), share(0.0), share(1.25), share(float("nan"))
    ('0.30', '0.005', '0', '1.25', '')
    """
    if not isfinite(value):
        return ""
    if value == 0:
        return "0"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def percent(value: float) -> str:
    """Write a share, whole per cents without a decimal.

    >>> percent(0.0213), percent(1.0), percent(0.00004)
    ('2.1 %', '100 %', '0.004 %')
    """
    share = 100 * value
    if share == 0 or share >= 0.1:
        return f"{share:.1f}".removesuffix(".0") + " %"
    return f"{share:.1g} %"


def rate(value: Interval) -> str:
    """Write a rate with its interval, in whole per cents.

    >>> rate(Interval(estimate=0.503, low=0.404, high=0.596, level=0.95, num=100))
    '50 % (40 to 60)'
    """
    estimate, low, high = (100 * v for v in (value.estimate, value.low, value.high))
    return f"{estimate:.0f} % ({low:.0f} to {high:.0f})"


def change_of_rate(value: Interval) -> str:
    """Write a change of a rate in points of a hundred.

    >>> same = Interval(estimate=0.0, low=0.0, high=0.0, level=0.95, num=60)
    >>> change_of_rate(same)
    'none on any prompt'
    >>> lost = Interval(estimate=-0.5, low=-0.62, high=-0.38, level=0.95, num=60)
    >>> change_of_rate(lost)
    '-50 points (-62 to -38)'
    """
    if value.estimate == value.low == value.high == 0:
        return "none on any prompt"
    return (
        f"{100 * value.estimate:+.0f} points "
        f"({100 * value.low:+.0f} to {100 * value.high:+.0f})"
    )


def ratio_ticks(reach: float) -> list[float]:
    """Ratios to mark on a logarithmic scale that reaches exp(reach) both ways.

    >>> ratio_ticks(0.8)
    [0.5, 1, 2]
    >>> ratio_ticks(0.01)
    [0.99, 1, 1.01]
    """
    steps = (100, 10, 5, 3, 2, 1.5, 1.2, 1.1, 1.05, 1.02, 1.01, 1.001)
    step = next((s for s in steps if log(s) <= reach * 1.0001), None)
    return [1] if step is None else [round(1 / step, 3), 1, step]


def short_name(source: str) -> str:
    """The last part of a path; a name on the hub stays whole.

    >>> short_name("../data/alpaca.json"), short_name("meta-llama/Llama-2-7b-hf")
    ('alpaca.json', 'meta-llama/Llama-2-7b-hf')
    """
    path = PurePosixPath(source.replace("\\", "/"))
    is_path = path.is_absolute() or source.startswith((".", "~")) or path.suffix
    on_hub = not is_path and len(path.parts) == 2
    return source if on_hub else path.name or source


def unmarked(text: str) -> str:
    """A text without the marks around its names.

    >>> unmarked("where `difference` drifts")
    'where difference drifts'
    """
    return text.replace("`", "")
