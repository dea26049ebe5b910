"""How alike are two choices, or two rankings, and how alike would blind ones be?"""

import numpy as np
from scipy.stats import kendalltau

from driftmap.results.expert_evidence import Chosen
from driftmap.results.experts import ExpertMap


def jaccard(left: Chosen, right: Chosen) -> float:
    """Experts of both groups over those of either; 1 for two empty groups.

    >>> jaccard(np.array([[0, 1], [0, 2]]), np.array([[0, 2], [1, 1]]))
    0.3333333333333333
    """
    a = {(int(bank), int(expert)) for bank, expert in left}
    b = {(int(bank), int(expert)) for bank, expert in right}
    return len(a & b) / len(a | b) if a | b else 1.0


def chance_jaccard(num_left: int, num_right: int, num_experts: int) -> float:
    """Jaccard of two blind draws, from their mean overlap.

    `ab / M` experts are of both on average, hence `k / (2M - k)` for `a = b = k`.

    Args:
        num_left: a.
        num_right: b.
        num_experts: M, all that could be drawn.

    >>> round(chance_jaccard(13, 13, 128), 3)
    0.053
    """
    if num_left + num_right == 0:
        return 1.0
    common = num_left * num_right / num_experts
    return common / (num_left + num_right - common)


def kendall_tau(left: ExpertMap, right: ExpertMap) -> float | None:
    """Kendall's tau-b of two maps, over experts that are known in both.

    Returns:
        None where either map does not vary.

    >>> kendall_tau(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 3.0, np.nan]]))
    1.0
    """
    known = ~np.isnan(left) & ~np.isnan(right)
    a, b = left[known], right[known]
    if a.size < 2 or (a == a[0]).all() or (b == b[0]).all():
        return None
    tau: np.float64 = np.asarray(kendalltau(a, b), dtype=np.float64)[0]
    return float(tau)
