"""How far does the evidence of one test weaken when many are made?"""

import math
from collections.abc import Collection, Sequence
from dataclasses import replace

from scipy.stats import false_discovery_control

from driftmap.results.statistics import GroupRatio


def adjust(
    ratios: Sequence[GroupRatio], controls: Collection[str] = ()
) -> tuple[GroupRatio, ...]:
    """Give every test but the primary one its Benjamini-Hochberg p-value.

    `min_{j >= i} m p_(j) / j` over all m of them (Benjamini and Hochberg 1995).
    The primary test was declared before training and stands alone. Ratios
    without a p-value are not tests, and no question is asked of a control: its
    p-value is description.

    Args:
        ratios: All ratios of a study: groups, metrics, layers, parts.
        controls: Names of groups that were drawn to stand for other weights.

    Returns:
        The same in the same order, `p_adjusted` filled in.
    """
    tested = [
        number
        for number, ratio in enumerate(ratios)
        if ratio.p_value is not None
        and not ratio.is_primary
        and ratio.group not in controls
    ]
    adjusted = list(ratios)
    if tested:
        p_values = [ratios[number].p_value for number in tested]
        for number, p in zip(tested, false_discovery_control(p_values), strict=True):
            adjusted[number] = replace(ratios[number], p_adjusted=float(p))
    return tuple(adjusted)


def needed_permutations(num_tests: int, level: float = 0.05) -> int:
    """Fewest draws B with which `num_tests` corrected tests can reach the level.

    The smallest p-value of B draws is `1 / (1 + B)`, so `B + 1 >= m / level`.

    Args:
        num_tests: m.
        level: Share of false discoveries allowed.

    >>> needed_permutations(50)
    999
    """
    return max(0, math.ceil(round(num_tests / level, 9)) - 1)
