"""Which few tensors say the same as all, and what does projection say instead?"""

from dataclasses import dataclass
from typing import Literal

SelectionGoal = Literal["agreement", "accuracy"]
"""`agreement`: uncentred cosine of all pair cosines with those of full. `accuracy`: of
the cosine of the chosen tensors, joined."""

TieRule = Literal["order", "margin"]
"""Among equally good tensors: the first of the model, or the one of largest margin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionScore:
    """How good is the cosine of the tensors chosen so far, on one half of the ids?

    Args:
        agreement: Uncentred cosine with the pair cosines of full; None where there
            is no direction.
        accuracy: Share of queries with a right original on top.
    """

    agreement: float | None
    accuracy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionStep:
    """One more tensor.

    Args:
        tensor: Its number in the list of tensors.
        name: Its name.
        num_weights: Weights chosen so far (count); None where one is not known.
        share_of_weights: The same over those of all tensors; None likewise.
        chosen_on: Where the tensor was chosen.
        reported_on: On the other ids; equal where nothing is held out.
        num_tied: Tensors that were as good at this step, itself among them.
    """

    tensor: int
    name: str
    num_weights: int | None
    share_of_weights: float | None
    chosen_on: SelectionScore
    reported_on: SelectionScore
    num_tied: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BothHalves:
    """One set's score where choices are made, and where they are reported."""

    chosen_on: SelectionScore
    reported_on: SelectionScore


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How many steps of a path until it agrees with full this well?

    Args:
        agreement: The mark.
        num_steps: Steps; None where it is not reached.
    """

    agreement: float
    num_steps: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionPath:
    """Tensors in the order in which greedy forward selection takes them.

    Args:
        goal: What each step makes as high as it can.
        steps: Every step; a set is that of all steps up to one.
        full: Score of all tensors, on both halves.
        num_best: Steps of the set that is best where it was chosen.
        standard_error: Of that set's score, over ids.
        num_smallest: Steps of the smallest set within one standard error of it.
        num_to_reach: For the goal `agreement`: steps to .9, .95 and .99; None where
            that is not reached. Empty for `accuracy`.
    """

    goal: SelectionGoal
    steps: tuple[SelectionStep, ...]
    full: BothHalves
    num_best: int
    standard_error: float
    num_smallest: int
    num_to_reach: tuple[Reached, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionPoint:
    """A random projection of the gradient, beside the greedy path.

    Args:
        name: What it is called: `fold, k = 1024`.
        num_stored: Numbers that it stores per sample (count): its true place on the
            axis of weights.
        share_of_weights: The same over all weights; None where those are unknown.
        chosen_on: Its full cosine, on the half where tensors are chosen.
        reported_on: The same on the other half.
    """

    name: str
    num_stored: int
    share_of_weights: float | None
    chosen_on: SelectionScore
    reported_on: SelectionScore
