"""What does one matrix contribute to the question whether a group drifts more?

Small enough to keep for every matrix of a model; the matrices themselves are
gone by the time these are pooled.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from driftmap.core.places import Site


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupEvidence:
    """One group in one matrix.

    Args:
        num_members: All weights of the group in the matrix.
        num_weights: Those in |W| bins that hold a control weight.
        num_left_out_bins: Bins that hold group weights but no control weight.
        observed: Per seed, summed drift of the `num_weights` weights.
        expected: Per seed, the same if each drifted like the mean control of
            its bin.
        log_bias: Per seed, how far chance alone takes `log(observed / expected)`
            from 0 because a ratio of few weights is noisy; 0 without draws.
        residual: T, summed `e = d / mu_bin - 1` of all members, averaged over
            seeds; `1 + T / num_members` reads as a ratio.
        residual_draws: T of every draw that permutes rows and columns.
        residual_variance: Closed form of T's variance for draws within bins.
        num_kept: Members that were kept from moving, frozen or blocked; nothing
            else here speaks of them.
    """

    num_members: int
    num_weights: int
    num_left_out_bins: int
    observed: Float64[np.ndarray, " seed"]
    expected: Float64[np.ndarray, " seed"]
    log_bias: Float64[np.ndarray, " seed"]
    residual: float
    residual_draws: Float64[np.ndarray, " draw"]
    residual_variance: float
    num_kept: int = 0

    @property
    def num_mobile(self) -> int:
        """Weights of the group that nothing kept from moving."""
        return self.num_members - self.num_kept

    @property
    def has_ratio(self) -> bool:
        """In every seed there is a control, and the group and it have moved."""
        return bool((self.observed > 0).all() and (self.expected > 0).all())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatrixEvidence:
    """Every group in one matrix.

    Args:
        site: The matrix.
        num_seeds: Training seeds behind each number.
        is_mobile: It drifted in every seed; otherwise the groups' sums are 0.
        groups: By name; a group without weights here is not listed.
    """

    site: Site
    num_seeds: int
    is_mobile: bool
    groups: Mapping[str, GroupEvidence]
