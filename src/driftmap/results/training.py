"""How did a fine-tuning run go?"""

from dataclasses import dataclass

ROUNDED_BASE = "rounded_base.json"
"""Beside an adapter whose base was rounded to 4 bits for training: how, in JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossPoint:
    """One optimiser step.

    Args:
        step: Number of the step, from 1.
        loss_nats: Mean cross-entropy per counted token of the step's samples,
            before the step was taken.
        learning_rate: Learning rate the step was taken with.
    """

    step: int
    loss_nats: float
    learning_rate: float
