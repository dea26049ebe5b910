"""At which steps does fine-tuning save its adapter and measure its drift?"""

from math import ceil

from driftmap.tune.settings import TuningSettings

EARLY_STEPS = (10, 30, 100, 300)
"""Roughly even on a log axis: most of the drift happens early."""


def total_steps(num_samples: int, settings: TuningSettings) -> int:
    """How many optimiser steps a run takes.

    >>> total_steps(200, TuningSettings())
    13
    >>> total_steps(200, TuningSettings(max_steps=50))
    50
    """
    if settings.max_steps > 0:
        return settings.max_steps
    batches = ceil(num_samples / settings.batch_size)
    return settings.num_epochs * ceil(batches / settings.grad_accum)


def checkpoint_steps(total: int, save_steps: int) -> tuple[int, ...]:
    """Steps whose adapter is saved: the first, a few early ones, regular, the last.

    Args:
        total: Steps of the whole run.
        save_steps: Steps between regular checkpoints.

    Returns:
        Ascending steps. The early ones are 10, 30, 100 and 300, as far as they
        come before the first regular one and before the end.

    >>> checkpoint_steps(1200, 500)
    (0, 10, 30, 100, 300, 500, 1000, 1200)
    >>> checkpoint_steps(25, 500)
    (0, 10, 25)
    """
    first = min(total, save_steps)
    early = {step for step in EARLY_STEPS if step < first}
    return tuple(sorted(early | {*range(0, total, save_steps), 0, total}))


def drift_steps(total: int, save_steps: int, drift_every: int) -> tuple[int, ...]:
    """Steps at which drift is measured: its own interval and every checkpoint.

    >>> drift_steps(25, 500, 20)
    (0, 10, 20, 25)
    """
    regular = range(0, total, drift_every)
    return tuple(sorted({*regular, *checkpoint_steps(total, save_steps)}))
