"""Does one model differ from several others, prompt by prompt?

The others are draws of a control: which one was drawn is chance, and so is which
prompts were asked. The interval covers both.
"""

import numpy as np
from jaxtyping import Float64
from scipy.stats import false_discovery_control

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.statistics import Interval

NUM_DRAWS = 9999
_CHUNK = 2**22


def paired_difference(
    own: Float64[np.ndarray, " _"],
    controls: Float64[np.ndarray, "_ _"],
    seed: int,
    level: float = 0.95,
) -> Interval:
    """Own mean minus the controls' mean on the same prompts.

    Percentile bootstrap that draws prompts and controls anew, each with what was read
    of it.

    Args:
        own: One reading per prompt.
        controls: The same of every control.
        seed: The run's seed.
        level: Nominal coverage.

    Raises:
        MeasureError: There is no prompt or no control, or prompts differ in number.

    >>> found = paired_difference(np.zeros(30), np.ones((3, 30)), seed=0)
    >>> found.estimate, found.low, found.high, found.num
    (-1.0, -1.0, -1.0, 30)
    """
    _require_pairs(own, controls)
    num_controls, num_prompts = controls.shape
    rng = np.random.default_rng(child_seed(seed, "contrast bootstrap"))
    apart = own - controls
    means = np.empty(NUM_DRAWS)
    step = max(1, _CHUNK // num_prompts)
    for first in range(0, NUM_DRAWS, step):
        num = min(step, NUM_DRAWS - first)
        prompts = _drawn(rng, num_prompts, num)
        weights = _drawn(rng, num_controls, num)
        sums = ((prompts @ apart.T) * weights).sum(axis=1)
        means[first : first + num] = sums / (num_controls * num_prompts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(
        estimate=float(apart.mean()),
        low=float(low),
        high=float(high),
        level=level,
        num=num_prompts,
    )


def sign_flip_p(
    own: Float64[np.ndarray, " _"],
    controls: Float64[np.ndarray, "_ _"],
    seed: int,
) -> float:
    """Two-sided p-value of the paired difference under random signs.

    `p = (1 + #{|T_pi| >= |T|}) / (1 + B)`: where nothing tells the group from its mean
    control, each prompt's difference might as well have the other sign.

    Args:
        own: One reading per prompt.
        controls: The same of every control.
        seed: The run's seed.

    Raises:
        MeasureError: As `paired_difference`.

    >>> sign_flip_p(np.zeros(30), np.ones((3, 30)), seed=0)
    0.0001
    >>> sign_flip_p(np.ones(30), np.ones((3, 30)), seed=0)
    1.0
    """
    _require_pairs(own, controls)
    apart = own - controls.mean(axis=0)
    rng = np.random.default_rng(child_seed(seed, "contrast signs"))
    observed, tie = abs(apart.sum()), 1e-9 * np.abs(apart).sum()
    reached = 0
    step = max(1, _CHUNK // apart.size)
    for first in range(0, NUM_DRAWS, step):
        num = min(step, NUM_DRAWS - first)
        signs = rng.integers(2, size=(num, apart.size)) * 2.0 - 1.0
        reached += int(np.count_nonzero(np.abs(signs @ apart) >= observed - tie))
    return (1 + reached) / (1 + NUM_DRAWS)


def mean_interval(
    values: Float64[np.ndarray, " prompt"], seed: int, level: float = 0.95
) -> Interval:
    """Mean over prompts with a percentile bootstrap over them.

    Raises:
        MeasureError: There is no prompt.
    """
    return paired_difference(values, np.zeros((1, values.size)), seed, level)


def adjusted(p_values: list[float]) -> list[float]:
    """Benjamini and Hochberg (1995): `min_{j >= i} m p_(j) / j`.

    >>> adjusted([0.01, 0.04, 0.03])
    [0.03, 0.04, 0.04]
    """
    return [float(p) for p in false_discovery_control(p_values)] if p_values else []


def _require_pairs(
    own: Float64[np.ndarray, " _"], controls: Float64[np.ndarray, "_ _"]
) -> None:
    if own.size == 0 or controls.shape[0] == 0 or controls.shape[1] != own.size:
        raise MeasureError(
            f"{own.size} readings and {controls.shape} of controls cannot be paired; "
            "ask the same prompts each time"
        )


def _drawn(
    rng: np.random.Generator, count: int, num: int
) -> Float64[np.ndarray, "num count"]:
    """How often each of `count` things is drawn in `count` draws, `num` times."""
    return rng.multinomial(count, np.full(count, 1 / count), size=num).astype(float)
