"""Ratios and behaviours with chosen numbers, for tests of what is read from them."""

import numpy as np

from driftmap.results.statistics import (
    BehaviourChange,
    GroupRatio,
    Interval,
    LeftOut,
)
from driftmap.stats.intervals import exponentiated, t_interval


def ratio_of(thetas, group="top"):
    """A primary ratio with these log ratios per seed."""
    values = np.array(thetas, dtype=float)
    intervals = [t_interval(values, level) for level in (0.9, 0.95)]
    ninety, more = [i if i is None else exponentiated(i) for i in intervals]
    return GroupRatio(
        group=group,
        metric="absolute",
        layer=None,
        part=None,
        thetas=tuple(values.tolist()),
        rho=float(np.exp(values.mean())),
        log_bias=0.0,
        interval90=ninety,
        interval95=more,
        bootstrap95=None,
        p_value=0.001,
        p_adjusted=None,
        num_permutations=999,
        is_primary=True,
        num_matrices=14,
        num_weights=1000,
        left_out=LeftOut(num_matrices=0, num_bins=0, num_weights=0, num_immobile=0),
        null=None,
    )


def behaviour_of(estimate, low, high):
    """A refusal rate that changed by `estimate`, with its interval."""
    rate = Interval(estimate=0.5, low=0.4, high=0.6, level=0.95, num=60)
    change = Interval(estimate=estimate, low=low, high=high, level=0.95, num=60)
    return BehaviourChange(
        outcome="refusal rate", before=rate, after=rate, change=change
    )
