"""What may be said of when behaviour changed and when the weights moved?"""

from collections.abc import Iterator, Sequence

from driftmap.results.claims import Claim, Standing
from driftmap.results.over_training import Course, OverTraining, Quantity
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
                says="No weight moved at any checkpoint.",
                standing="not-found",
            ),
        )
    courses = sorted(found.courses, key=lambda one: _ORDER.index(one.quantity))
    half, last = found.weight_half, found.readings.steps[-1]
    settled = [one for one in courses if one.half is not None and one.lag is not None]
    return (
        *_lags(settled, half, last),
        *_unmoved([one for one in courses if not one.is_settled]),
    )


def _lags(courses: Sequence[Course], half: float, last: int) -> Iterator[Claim]:
    for one in courses:
        assert one.half is not None
        assert one.lag is not None
        after = _after(one.lag.low, one.lag.high)
        standing: Standing = "found" if after else "inconclusive"
        if one.quantity in NEVER_BELOW:
            standing = "context"
        yield Claim(
            topic="training",
            says=(
                f"Half of the change in {WORDS[one.quantity]} was there by step "
                f"{one.half.estimate:.0f} of {last:,} (95 % {one.half.low:.0f} to "
                f"{one.half.high:.0f}, n {one.half.num}), half of the way of the "
                f"weights by step {half:.0f}: "
                f"{after or 'which came first cannot be told'}."
            ),
            standing=standing,
        )


def _after(low: float, high: float) -> str:
    if low > 0:
        return "behaviour changed later than the weights"
    return "behaviour changed sooner than the weights" if high < 0 else ""


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
