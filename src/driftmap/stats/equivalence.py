"""Is a group's drift shown to be alike, rather than merely not shown to differ?"""

import math

import numpy as np
from scipy.special import stdtr

from driftmap.core.errors import UsageError
from driftmap.results.statistics import Equivalence, GroupRatio


def equivalence(ratio: GroupRatio, margin: float = 1.25) -> Equivalence:
    """Test with two one-sided t tests whether rho lies within the margin.

    At 5 % this is the 90 % interval of theta lying inside (-log M, log M)
    (Schuirmann 1987).

    Args:
        ratio: A group's ratio to its control.
        margin: M, above 1, declared before training.

    Returns:
        The larger of the two p-values, and whether the group is similar. With
        one seed there is no p-value and nothing is similar.

    Raises:
        UsageError: The margin is not above 1.
    """
    require_margin(margin)
    interval = ratio.interval90
    return Equivalence(
        group=ratio.group,
        margin=margin,
        p_value=_tost_p(np.array(ratio.thetas), math.log(margin)),
        is_similar=interval is not None
        and 1 / margin < interval.low
        and interval.high < margin,
    )


def require_margin(margin: float) -> None:
    """Refuse a margin that leaves no room for "similar".

    Raises:
        UsageError: The margin is not above 1.
    """
    if not 1 < margin < math.inf:
        raise UsageError(f"margin is {margin}: give a ratio above 1, such as 1.25")


def _tost_p(thetas: np.ndarray, bound: float) -> float | None:
    if thetas.size < 2:
        return None
    error = float(thetas.std(ddof=1)) / thetas.size**0.5
    nearest = bound - abs(float(thetas.mean()))
    if error == 0:
        return float(nearest <= 0)
    return float(stdtr(thetas.size - 1, -nearest / error))
