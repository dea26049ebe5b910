"""Do the weights that carry the behaviour drift more than their control?

A "fragile": they do, by more than a margin declared before training. B
"consistent with pathway creation": they do not, and the behaviour changed all
the same. Anything else is inconclusive, and the sentence says what would settle
it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.results.statistics import (
    BehaviourChange,
    Caution,
    GroupRatio,
    Interval,
    Verdict,
)
from driftmap.stats.equivalence import require_margin

MIN_SEEDS = 3


def decide(
    ratio: GroupRatio,
    behaviour: BehaviourChange,
    cautions: Sequence[Caution],
    margin: float = 1.25,
) -> Verdict:
    """Read the primary test as A, B or inconclusive.

    (L, U) is the 90 % interval of rho over training seeds: L > M says A, U < M
    says B. At rho = M each claim errs in 5 %.

    Args:
        ratio: The primary test.
        behaviour: What tuning did to the declared outcome.
        cautions: All that apply; a blocking one rules a verdict out.
        margin: M, above 1, declared before training.

    Returns:
        The verdict in words.

    Raises:
        UsageError: The margin is not above 1.
    """
    require_margin(margin)
    doubt = _first_doubt(ratio, behaviour, cautions, margin)
    if doubt is not None:
        return Verdict(
            kind="inconclusive",
            sentence=f"Inconclusive: {doubt.reason}. {doubt.settles}",
            reason=doubt.reason,
            settles=doubt.settles,
            group=ratio.group,
            margin=margin,
            interval90=ratio.interval90,
        )
    assert ratio.interval90 is not None
    is_fragile = ratio.interval90.low > margin
    return Verdict(
        kind="fragile" if is_fragile else "pathway creation",
        sentence=_fragile(ratio, ratio.interval90, margin)
        if is_fragile
        else _pathway(ratio, ratio.interval90, behaviour, margin),
        reason="",
        settles="",
        group=ratio.group,
        margin=margin,
        interval90=ratio.interval90,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Doubt:
    reason: str
    settles: str


def _first_doubt(
    ratio: GroupRatio,
    behaviour: BehaviourChange,
    cautions: Sequence[Caution],
    margin: float,
) -> _Doubt | None:
    if any(caution.name == "trial" for caution in cautions):
        return _Doubt(
            reason="this is a trial run, whose samples and steps are capped",
            settles="Leave --quick out, with another --out.",
        )
    num_seeds = len(ratio.thetas)
    if num_seeds < MIN_SEEDS or ratio.interval90 is None:
        return _Doubt(
            reason=f"{num_seeds} training seed{'s' * (num_seeds != 1)} cannot tell "
            "drift from luck",
            settles=f"Train at least {MIN_SEEDS} seeds.",
        )
    blocking = [caution for caution in cautions if caution.is_blocking]
    if blocking:
        return _Doubt(
            reason=f"these numbers cannot carry a verdict ({blocking[0].name}): "
            + blocking[0].sentence.rstrip("."),
            settles="Remove that cause and measure again.",
        )
    if not behaviour.has_changed:
        return _Doubt(
            reason="the behaviour is not shown to have changed "
            f"({change_in_points(behaviour)})",
            settles="Ask more prompts, or train longer or on data that changes it.",
        )
    interval = ratio.interval90
    if interval.low <= margin <= interval.high:
        return _Doubt(
            reason=f"`{ratio.group}` drifts {_span(ratio, interval)}, and the declared "
            f"margin {margin:.3g} lies inside",
            settles="Train more seeds, score with more samples or tune more modules.",
        )
    return None


def _fragile(ratio: GroupRatio, interval: Interval, margin: float) -> str:
    return (
        f"A, fragile: `{ratio.group}` drifts {ratio.rho:.2f} times its matched "
        f"control ({interval.low:.2f} to {interval.high:.2f}), more than the "
        f"declared margin {margin:.3g}."
    )


def _pathway(
    ratio: GroupRatio, interval: Interval, behaviour: BehaviourChange, margin: float
) -> str:
    if interval.high < 1 / margin:
        reading = "less"
    else:
        reading = "similar" if interval.low > 1 / margin else "less or similar"
    return (
        f"B, consistent with pathway creation: the {behaviour.outcome} changed by "
        f"{_points(behaviour.change)} while `{ratio.group}` drifts "
        f"{_span(ratio, interval)}, not more than {margin:.3g}: its drift is {reading}."
    )


def _span(ratio: GroupRatio, interval: Interval) -> str:
    return (
        f"{ratio.rho:.2f} times its control ({interval.low:.2f} to {interval.high:.2f})"
    )


def change_in_points(behaviour: BehaviourChange) -> str:
    """What tuning did to an outcome, in points of a hundred."""
    change = behaviour.change
    if change.estimate == change.low == change.high == 0:
        return f"no prompt changed in {behaviour.outcome}"
    return f"{behaviour.outcome}: {_points(change)}"


def _points(change: Interval) -> str:
    """A change of a rate in points of a hundred."""
    estimate, low, high = (
        round(100 * v) for v in (change.estimate, change.low, change.high)
    )
    return f"{estimate:+d} points ({low:+d} to {high:+d})"
