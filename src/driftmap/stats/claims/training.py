"""What may be said of when behaviour changed and when the weights moved?"""

from collections.abc import Iterator, Sequence

from driftmap.results.claims import Claim, Standing
from driftmap.results.over_training import Course, OverTraining, Quantity
from driftmap.results.statistics import Interval
from driftmap.stats.over_training import NEVER_BELOW

WORDS: dict[Quantity, str] = {
    "kl": "divergence from the base on texts",
    "surprise": "surprise on texts",
    "answer nll": "surprise at the known answers",
    "foil nll": "surprise at the other answers",
    "foil first": "share of facts with the other answer before the known one",
    "refusal": "refusal of harmful requests",
    "over-refusal": "refusal of harmless requests",
    "accuracy": "accuracy on held-out requests",
}
"""What the page calls each quantity."""

_ORDER: tuple[Quantity, ...] = (
    "foil first", "refusal", "over-refusal", "foil nll", "answer nll", "accuracy",
    "surprise", "kl",
)  # fmt: skip


def training_claims(found: OverTraining) -> tuple[Claim, ...]:
    """Say of each quantity when half of its change was there.

    Args:
        found: Of several checkpoints.
    """
    if found.weight_half is None:
        return (
            Claim(
                topic="training",
                says="No matrix of any layer moved at any checkpoint, so there is "
                "nothing to set behaviour against.",
                standing="not-found",
            ),
        )
    courses = sorted(found.courses, key=lambda one: _ORDER.index(one.quantity))
    settled = [one for one in courses if one.half is not None and one.lag is not None]
    return (
        *_lags(settled, found.weight_half, found.readings.steps),
        *_unmoved([one for one in courses if not one.is_settled]),
    )


def _lags(
    courses: Sequence[Course], half: float, steps: Sequence[int]
) -> Iterator[Claim]:
    for one in courses:
        assert one.half is not None
        assert one.lag is not None
        after = _after(half, one.lag, steps)
        standing: Standing = "found" if after else "inconclusive"
        if one.quantity in NEVER_BELOW:
            standing = "context"
        yield Claim(
            topic="training",
            says=(
                f"Half of the change in {WORDS[one.quantity]} was there by step "
                f"{one.half.estimate:.0f} of {steps[-1]:,} (95 % {one.half.low:.0f} to "
                f"{one.half.high:.0f}, n {one.half.num}), half of the way of the "
                f"weights by step {half:.0f}: "
                f"{after or 'which came first cannot be told'}."
            ),
            standing=standing,
        )


def _after(half: float, lag: Interval, steps: Sequence[int]) -> str:
    """Which came first, where a checkpoint at which both were read lies between.

    Between two checkpoints a straight line is taken, and not known: two halves on one
    stretch of it have no order.
    """
    if lag.low > 0 and any(half <= step <= half + lag.low for step in steps):
        return "behaviour changed later than the weights"
    if lag.high < 0 and any(half + lag.high <= step <= half for step in steps):
        return "behaviour changed sooner than the weights"
    return ""


def _unmoved(courses: Sequence[Course]) -> Iterator[Claim]:
    told = [one for one in courses if one.quantity not in NEVER_BELOW]
    if told:
        names = ", ".join(WORDS[one.quantity] for one in told)
        yield Claim(
            topic="training",
            says=f"From the base to the last checkpoint no change can be told of "
            f"{names}; nothing is said of when they changed.",
            standing="inconclusive",
        )
