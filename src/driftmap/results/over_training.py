"""When did behaviour change, and when did the weights move?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from driftmap.results.statistics import Interval

Quantity = Literal[
    "kl", "surprise", "answer nll", "foil nll", "foil first", "refusal",
    "over-refusal", "accuracy",
]  # fmt: skip
"""What is read of a model at each checkpoint, probe by probe."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbeCurve:
    """One quantity of every probe at every checkpoint.

    Args:
        quantity: Which. `kl` and `surprise` are means per token of a text (nats), the
            latter its negative log-likelihood; `foil first`, `refusal`, `over-refusal`
            and `accuracy` are 0 or 1.
        probes: Names of the probes.
        clusters: What is drawn together in a resample, such as a fact's subject.
        values: Step 0 is the base.
    """

    quantity: Quantity
    probes: tuple[str, ...]
    clusters: tuple[str, ...]
    values: Float64[np.ndarray, "step probe"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingReadings:
    """What was read at each checkpoint.

    Args:
        steps: Training steps, ascending; the first one is 0, the base.
        layers: Blocks, from 0.
        drift: `|dW| / |W|` over all matrices of a block; 0 at step 0.
        curves: Of the probes.
    """

    steps: tuple[int, ...]
    layers: tuple[int, ...]
    drift: Float64[np.ndarray, "step layer"]
    curves: tuple[ProbeCurve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """Mean of one quantity over its probes at one checkpoint.

    Args:
        step: Training step.
        value: Mean with its interval over probes.
    """

    step: int
    value: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One quantity over training.

    Args:
        quantity: Which.
        levels: At each step.
        change: From the base to the last checkpoint, paired by probe; its level is
            corrected for the number of quantities.
        is_settled: The change can be told from none: its interval leaves out 0, and
            there are enough clusters.
        shares: Share of that change that is reached at each step; empty where it is
            not settled.
        half: Step at which half of it is first reached, between checkpoints along a
            straight line; None likewise.
        lag: That step minus the one at which the weights had moved half their way, at
            the corrected level; None likewise. Above 0 behaviour came later.
    """

    quantity: Quantity
    levels: tuple[Level, ...]
    change: Interval
    is_settled: bool
    shares: tuple[Interval, ...]
    half: Interval | None
    lag: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OverTraining:
    """All that is said of checkpoints.

    Args:
        readings: What was read.
        weight_shares: Root mean square of the drift over layers at each step, over
            that at the last one; empty where nothing moved.
        weight_half: Step at which it is one half; None where nothing moved.
        courses: Of the quantities.
    """

    readings: TrainingReadings
    weight_shares: tuple[float, ...]
    weight_half: float | None
    courses: tuple[Course, ...]
