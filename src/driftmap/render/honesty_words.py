"""Which words does the page on honesty readings use for the same thing?"""

from driftmap.results.honesty import ReadingMethod, TransferName
from driftmap.results.statistics import Interval

METHODS: dict[ReadingMethod, str] = {
    "mean_difference": "difference of means",
    "shuffled_pca": "first component of shuffled differences",
    "logistic": "logistic regression",
    "lda": "linear discriminant",
    "random": "blind directions",
}
"""What each way of finding a direction is called."""

METHOD_COLOURS: dict[ReadingMethod, str] = {
    "mean_difference": "q",
    "shuffled_pca": "o",
    "logistic": "gate",
    "lda": "utility",
    "random": "random",
}
"""Whose colour a method's line has."""

TRANSFERS: dict[TransferName, str] = {
    "other_wording": "other words for both instructions",
    "false_statements": "false statements under both instructions",
    "true_against_false": "true against false statements, no instruction",
    "negated": "the same, negated",
    "given": "statements of another file",
}

NOT_TRUTH = (
    "The direction reads the instruction, not truth. False statements were never used "
    "to find it; negation breaks probes; a made-up sentence is not detected because it "
    "is made up. A text that is coloured dishonest is one whose states look like those "
    "under the dishonest instruction."
)

CAUTION_TITLES = {
    "single-states": "Pairs are told apart, single texts hardly",
    "few-statements": "Few statements",
    "random-directions": "Blind directions do it too",
    "memorised": "A method that learns by heart",
    "wording": "Tied to its words",
    "negation": "Negation breaks it",
    "steering": "Steering does no more than blind directions",
    "steering-cost": "Steering damages the model",
}
"""By the names that stats gives them."""


def area(value: Interval | None) -> str:
    """An AUROC with its interval.

    >>> area(Interval(estimate=0.95, low=0.9, high=0.99, level=0.95, num=40))
    '0.95 (0.90 to 0.99)'
    """
    if value is None:
        return "–"
    return f"{value.estimate:.2f} ({value.low:.2f} to {value.high:.2f})"


def several(num: int, what: str) -> str:
    """A count with its noun.

    >>> several(1, "pair"), several(1200, "pair")
    ('1 pair', '1,200 pairs')
    """
    return f"{num:,} {what}" if num == 1 else f"{num:,} {what}s"
