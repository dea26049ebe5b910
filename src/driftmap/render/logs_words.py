"""Which words does a report on drift logs use?"""

from driftmap.render.page import Section, Terms
from driftmap.render.wording import CAUTIONS, METRICS, MetricWords, number

ABSOLUTE = "absolute_change"

_IMMOBILE = "Weights that nothing tuned count as 0."

PUBLISHED_METRICS = {
    ABSOLUTE: MetricWords(
        title=METRICS["absolute"].title,
        direction=f"Higher means more drift. {_IMMOBILE}",
    ),
    "relative_change": MetricWords(
        title=METRICS["relative"].title,
        direction="Higher means more drift for the weight's own size; groups whose "
        f"weights are large look still. {_IMMOBILE}",
    ),
    "cosine_similarity": MetricWords(
        title="Cosine similarity of the group's part of a row (-1 to 1)",
        direction="Lower means that the direction turned more; 1 means that it was "
        "kept. A negative d means that the group turned more.",
        caution=CAUTIONS["fragment", "cosine_distance"],
    ),
    "l2_distance": MetricWords(
        title="L2 distance of the group's part of a row (weight units)",
        direction="Higher means more drift; it grows with the number of weights.",
        caution=CAUTIONS["fragment", "l2"],
    ),
}
"""Metrics of the published logs."""

_GROUPS = {
    "safety_set_diff": "high by behaviour score and not by utility score: meant as the "
    "weights that the behaviour needs and ordinary ability does not",
    "safety_snip_top": "the highest by behaviour score",
    "utility": "the highest by utility score: weights of ordinary ability",
    "random": "drawn blindly",
    "matched": "as large and as many as the group it controls, outside scored groups",
}
_GROUPS |= {
    "difference": _GROUPS["safety_set_diff"],
    "top": _GROUPS["safety_snip_top"],
}


def logged_metric_words(metric: str) -> MetricWords:
    """The words of a metric; of one that is not known here, only its name."""
    return PUBLISHED_METRICS.get(metric) or MetricWords(
        title=f"{metric} (unit not stated)",
        direction="The logs do not say which direction means more drift.",
    )


def ratio_makes_sense(metric: str) -> bool:
    """Whether 0 means no drift, so that one mean may be over another."""
    return metric in PUBLISHED_METRICS and metric != "cosine_similarity"


def cohens_d(value: float) -> str:
    """Write an effect size.

    >>> cohens_d(-0.194), cohens_d(-0.0001), cohens_d(0.0), cohens_d(float("nan"))
    ('-0.19', 'about 0', '0', '–')
    """
    if abs(value) >= 0.005:
        return f"{value:+.2f}"
    return "about 0" if abs(value) > 0 else number(value)


def signed(value: float) -> str:
    """Write a difference with its sign.

    >>> signed(0.00012), signed(-2.0)
    ('+1.20e-4', '-2')
    """
    written = number(value)
    return f"+{written}" if value > 0 else written


def logs_words_section(groups: tuple[str, ...]) -> Section:
    """What the words of the page mean, those of its groups among them."""
    known = [(f"`{name}`", _GROUPS[name]) for name in groups if name in _GROUPS]
    others = [f"`{name}`" for name in groups if name not in _GROUPS]
    if others:
        known.append((", ".join(others), "chosen by whoever wrote the logs"))
    return Section(
        anchor="words",
        title="Words on this page",
        nodes=[
            Terms(
                pairs=[
                    (
                        "drift",
                        "how far fine-tuning moved weights from where they were",
                    ),
                    (
                        "|W|, |dW|",
                        "size of a weight before training; how far it moved, in the "
                        "same units",
                    ),
                    ("group", "a set of single weights, chosen before training"),
                    *known,
                    (
                        "Cohen's d",
                        "difference of two means, in units of the spread within the "
                        "groups: below 0.2 negligible, below 0.5 small, below 0.8 "
                        "medium, else large. Description only: it treats weights as "
                        "independent and ignores their size.",
                    ),
                ]
            )
        ],
    )
