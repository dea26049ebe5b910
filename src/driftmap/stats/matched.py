"""Does a group drift more than weights of its own size in its own matrix?

Within quantile bins b of |W|, n_b of the N_b weights are in the group S:
rho = sum_S d / sum_b n_b * mean(d in b outside every declared group).
Nothing is sampled: whole bins are the control.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int16, Int64

Drift = Float64[np.ndarray, " weight"]
Bins = Int16[np.ndarray, " weight"]
Members = Int64[np.ndarray, " member"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BinMoments:
    """Population moments of some values per bin; zero where a bin is empty."""

    count: Int64[np.ndarray, " bin"]
    mean: Float64[np.ndarray, " bin"]
    variance: Float64[np.ndarray, " bin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedSums:
    """A group's drift and what its control predicts, over bins that have one."""

    observed: float
    expected: float
    num_weights: int
    num_left_out_bins: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NullMoments:
    """Mean and variance of a group's sum when its weights are drawn within bins."""

    mean: float
    variance: float


def outside(
    num_weights: int, groups: Iterable[Int64[np.ndarray, " _"]]
) -> Bool[np.ndarray, " weight"]:
    """Mark the weights of a matrix that no declared group holds.

    >>> outside(4, [np.array([0]), np.array([0, 2])])
    array([False,  True, False,  True])
    """
    free = np.ones(num_weights, dtype=bool)
    for members in groups:
        free[members] = False
    return free


def bin_moments(values: Drift, bins: Bins, num_bins: int) -> BinMoments:
    """Count, mean and population variance of the values in each bin.

    Args:
        values: One number per weight.
        bins: Bin of each.
        num_bins: Length of the answer.

    >>> m = bin_moments(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 2], np.int16), 3)
    >>> m.mean, m.variance
    (array([2., 0., 5.]), array([1., 0., 0.]))
    """
    count = np.bincount(bins, minlength=num_bins)
    some = np.maximum(count, 1)
    mean = np.bincount(bins, weights=values, minlength=num_bins) / some
    spread = (values - mean[bins]) ** 2
    variance = np.bincount(bins, weights=spread, minlength=num_bins) / some
    return BinMoments(count=count, mean=mean, variance=variance)


def matched_sums(
    values: Drift, bins: Bins, members: Members, control: BinMoments
) -> MatchedSums:
    """Sum a group's drift and predict it from the controls of its bins.

    Bins without any control weight are left out of both sums and counted.

    Args:
        values: d = |dW| of every weight of the matrix.
        bins: |W| bin of each.
        members: Flat indices of the group.
        control: Moments of the weights outside every group, per bin.

    >>> d, bins = np.array([4.0, 2.0, 2.0, 9.0]), np.array([0, 0, 0, 1], np.int16)
    >>> free = outside(4, [np.array([0, 3])])
    >>> control = bin_moments(d[free], bins[free], 2)
    >>> matched_sums(d, bins, np.array([0, 3]), control)
    MatchedSums(observed=4.0, expected=2.0, num_weights=1, num_left_out_bins=1)
    """
    bin_of_member = bins[members]
    has_control = control.count[bin_of_member] > 0
    bin_of_member_with = bin_of_member[has_control]
    return MatchedSums(
        observed=float(values[members[has_control]].sum()),
        expected=float(control.mean[bin_of_member_with].sum()),
        num_weights=int(has_control.sum()),
        num_left_out_bins=len(np.unique(bin_of_member[~has_control])),
    )


def null_moments(bins: Bins, members: Members, whole: BinMoments) -> NullMoments:
    """Closed form of a group's sum when its weights are drawn within bins.

    `E = sum_b n_b mu_b`, `Var = sum_b n_b (N_b - n_b) / (N_b - 1) sigma_b^2`,
    with the population moments of the whole bin (sampling without
    replacement). A reference that ignores how groups cluster in rows and
    columns: never the source of a p-value.

    Args:
        bins: |W| bin of every weight of the matrix.
        members: Flat indices of the group.
        whole: Moments of all weights of each bin.

    >>> d, bins = np.array([1.0, 3.0]), np.zeros(2, np.int16)
    >>> null_moments(bins, np.array([0]), bin_moments(d, bins, 1))
    NullMoments(mean=2.0, variance=1.0)
    """
    drawn = np.bincount(bins[members], minlength=len(whole.count))
    left = (whole.count - drawn) / np.maximum(whole.count - 1, 1)
    return NullMoments(
        mean=float(drawn @ whole.mean),
        variance=float((drawn * left) @ whole.variance),
    )
