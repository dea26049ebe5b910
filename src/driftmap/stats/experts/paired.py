"""How sure is a mean over examples when some of them ask for the same?

Examples of one goal are drawn together: two wordings of one request are no two
requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.statistics import Interval

_CHUNK = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class Chance:
    """What an interval takes to be chance.

    Args:
        seed: The run's seed.
        goal_of: Goal of each sample; a sample that is not named has its own.
        num_resamples: Bootstrap draws (count).
        level: Nominal coverage.
    """

    seed: int
    goal_of: Mapping[str, str] = field(default_factory=dict)
    num_resamples: int = 1000
    level: float = 0.95


def paired_mean(
    values: Float64[np.ndarray, " example"], ids: Sequence[str], chance: Chance
) -> Interval:
    """Mean over examples, percentile bootstrap over their goals.

    Args:
        values: One number per example, such as a difference.
        ids: Their sample ids.
        chance: Seed, goals and draws.

    Raises:
        MeasureError: There is no example, ids and values differ in number, or a value
            is not finite.

    >>> found = paired_mean(np.full(4, 2.0), "abcd", Chance(seed=0))
    >>> found.estimate, found.low, found.high, found.num
    (2.0, 2.0, 2.0, 4)
    """
    return paired_contrast(values, np.zeros((1, len(values))), ids, chance)


def paired_contrast(
    values: Float64[np.ndarray, " example"],
    drawn: Float64[np.ndarray, "draw _"],
    ids: Sequence[str],
    chance: Chance,
) -> Interval:
    """Mean of the values less that of all draws, on the same examples.

    Percentile bootstrap that draws goals and draws anew.

    Args:
        values: One number per example.
        drawn: The same of each random draw.
        ids: Sample ids.
        chance: Seed, goals and draws.

    Raises:
        MeasureError: As `paired_mean`, or there is no draw.
    """
    _require_examples(values, drawn, ids)
    apart = values - drawn
    goals = [chance.goal_of.get(i, f"\x1f{i}") for i in ids]
    _, goal = np.unique(goals, return_inverse=True)
    num_goals, num_draws = int(goal.max()) + 1, len(drawn)
    sums = np.stack([np.bincount(goal, row, num_goals) for row in apart], axis=1)
    sizes = np.bincount(goal, minlength=num_goals)
    rng = np.random.default_rng(child_seed(chance.seed, "paired bootstrap"))
    means = np.empty(chance.num_resamples)
    step = max(1, _CHUNK // (num_goals + num_draws))
    for first in range(0, chance.num_resamples, step):
        num = min(step, chance.num_resamples - first)
        by_goal = _times_drawn(rng, num_goals, num)
        by_draw = _times_drawn(rng, num_draws, num) / num_draws
        total = ((by_goal @ sums) * by_draw).sum(axis=1)
        means[first : first + num] = total / (by_goal @ sizes)
    tail = (1 - chance.level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(
        estimate=float(apart.mean()),
        low=float(low),
        high=float(high),
        level=chance.level,
        num=num_goals,
    )


def _require_examples(
    values: Float64[np.ndarray, " example"],
    drawn: Float64[np.ndarray, "draw _"],
    ids: Sequence[str],
) -> None:
    if not len(values) or len(values) != len(ids) or not len(drawn):
        raise MeasureError(
            f"{len(values)} readings of {len(ids)} examples and {len(drawn)} draws "
            "give no interval; read every example once"
        )
    if drawn.shape[1] != len(values):
        raise MeasureError(
            f"{len(values)} readings beside {drawn.shape[1]} of each draw cannot be "
            "paired; read the same examples each time"
        )
    odd = np.flatnonzero(~np.isfinite(values) | ~np.isfinite(drawn).all(axis=0))
    if odd.size:
        raise MeasureError(
            f"sample {ids[odd[0]]!r}: a reading is not finite; are the model's weights "
            "finite?"
        )


def _times_drawn(
    rng: np.random.Generator, count: int, num: int
) -> Float64[np.ndarray, "resample _"]:
    """How often each of `count` things is drawn in `count` draws, `num` times."""
    return rng.multinomial(count, np.full(count, 1 / count), size=num).astype(float)
