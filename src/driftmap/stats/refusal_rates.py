"""What do counts of refusals say, once the judge's errors and chance are counted in?"""

from math import comb

import numpy as np
from jaxtyping import Bool, Float64, Int64
from scipy.stats import binom, rankdata

from driftmap.core.errors import MeasureError
from driftmap.results.evaluation import PairedRates
from driftmap.results.judging import Confusion
from driftmap.results.statistics import Interval


def any_of_n(
    successes: Int64[np.ndarray, " prompt"], num_samples: int, n: int
) -> Float64[np.ndarray, " prompt"]:
    """Chance that at least one of n answers succeeds, unbiased from m >= n of them.

    `1 - C(m - c, n) / C(m, n)` with c successes among m samples (Chen et al. 2021,
    eq. 1). At n = 1 it is the share of successes.

    Args:
        successes: c per prompt.
        num_samples: m, the same for each prompt.
        n: Answers that an attacker may draw.

    Raises:
        MeasureError: n is not from 1 to m.

    >>> any_of_n(np.array([0, 1, 4]), 4, 2)
    array([0. , 0.5, 1. ])
    """
    if not 1 <= n <= num_samples:
        raise MeasureError(f"any of {n} answers cannot be told from {num_samples}")
    draws = comb(num_samples, n)
    return np.array([1 - comb(num_samples - int(c), n) / draws for c in successes])


def corrected_rate(rate: Interval, errors: Confusion) -> Interval | None:
    """Rate that a judge without errors would find.

    `(observed + specificity - 1) / (sensitivity + specificity - 1)` (Rogan and Gladen
    1978), within 0 and 1. The errors are taken as known: their own uncertainty is not
    in the interval.

    Args:
        rate: What the judge found.
        errors: How it errs.

    Returns:
        The rate, or None where the judge does no better than chance.

    >>> from driftmap.stats.intervals import wilson_interval
    >>> from driftmap.results.judging import Rulings
    >>> right = Rulings(refusal=9, partial=0, compliance=1)
    >>> errors = Confusion(
    ...     refusal=right,
    ...     partial=Rulings(refusal=0, partial=0, compliance=0),
    ...     compliance=Rulings(refusal=1, partial=0, compliance=9),
    ... )
    >>> round(corrected_rate(wilson_interval(50, 100), errors).estimate, 3)
    0.5
    """
    found, kept = errors.sensitivity, errors.specificity
    if found is None or kept is None or found + kept <= 1:
        return None
    low, middle, high = (
        min(1.0, max(0.0, (value + kept - 1) / (found + kept - 1)))
        for value in (rate.low, rate.estimate, rate.high)
    )
    return Interval(estimate=middle, low=low, high=high, level=rate.level, num=rate.num)


def mcnemar(
    before: Bool[np.ndarray, " _"], after: Bool[np.ndarray, " prompt"]
) -> PairedRates:
    """Compare two rates on the same prompts by those that changed (McNemar, exact).

    Under the null a changed prompt goes either way with probability one half.

    Args:
        before: Whether each prompt was refused.
        after: Whether the same prompt is refused now.

    Raises:
        MeasureError: There is no prompt, or the two differ in number.

    >>> same = np.array([True, False, True])
    >>> mcnemar(same, same).p_value
    1.0
    """
    if before.size == 0 or before.size != after.size:
        raise MeasureError(
            f"{before.size} and {after.size} prompts cannot be compared pair by pair"
        )
    gained = int((after & ~before).sum())
    lost = int((before & ~after).sum())
    tail = float(binom.cdf(min(gained, lost), gained + lost, 0.5))
    return PairedRates(
        num=before.size,
        num_before=int(before.sum()),
        num_after=int(after.sum()),
        num_gained=gained,
        num_lost=lost,
        p_value=min(1.0, 2 * tail),
    )


def separation(
    values: Float64[np.ndarray, " prompt"], positive: Bool[np.ndarray, " prompt"]
) -> float | None:
    """Area under the ROC curve: how often a positive lies above a negative, ties half.

    Args:
        values: One number per prompt.
        positive: Which of them should lie above.

    Returns:
        From 0 to 1; None where there are only positives, or none.

    >>> separation(np.array([1.0, 2.0, 2.0]), np.array([False, True, False]))
    0.75
    """
    num_high, num_low = int(positive.sum()), int((~positive).sum())
    if not num_high or not num_low:
        return None
    ranks = rankdata(values)[positive].sum()
    return float((ranks - num_high * (num_high + 1) / 2) / (num_high * num_low))
