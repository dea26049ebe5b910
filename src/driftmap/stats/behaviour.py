"""Did tuning change what the model does, beyond what other prompts would give?"""

import numpy as np
from jaxtyping import Bool

from driftmap.results.statistics import BehaviourChange
from driftmap.stats.intervals import paired_change, wilson_interval


def behaviour_change(
    outcome: str,
    before: Bool[np.ndarray, " _"],
    after: Bool[np.ndarray, "seed prompt"],
    seed: int,
) -> BehaviourChange:
    """Compare a rate before and after tuning, paired by prompt.

    Args:
        outcome: What is counted: `refusal rate`, `accuracy`.
        before: Whether it happened, per prompt, before tuning.
        after: The same per training seed and prompt, in the same order.
        seed: The run's seed, for the bootstrap.

    Raises:
        MeasureError: There is no prompt or no seed, or prompts differ in number.

    >>> before = np.array([True, True, True, False])
    >>> after = np.array([[True, False, False, False], [False, False, True, False]])
    >>> change = behaviour_change("refusal rate", before, after, seed=0)
    >>> change.before.estimate, change.after.estimate, change.change.estimate
    (0.75, 0.25, -0.5)
    """
    change = paired_change(before, after, seed)
    return BehaviourChange(
        outcome=outcome,
        before=wilson_interval(float(before.sum()), before.size),
        after=wilson_interval(float(after.mean(axis=0).sum()), before.size),
        change=change,
    )
