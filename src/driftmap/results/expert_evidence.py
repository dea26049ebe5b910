"""How are experts chosen from scores, and how far can a ranking be believed?

Arrays are `[bank, expert]`, banks in model order. Where a bank has fewer experts than
the largest, the rest is NaN in numbers and 0 in counts. Chosen experts are rows of two
numbers, the bank's place on its axis and the expert's number, the best first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from driftmap.results.experts import ExpertMap, ExpertScores
from driftmap.results.statistics import Interval

Selection = Literal["global", "per_layer", "top_p"]
Normalise = Literal["none", "layer"]

Chosen = Int64[np.ndarray, "chosen 2"]
ExpertCounts = Int64[np.ndarray, "bank expert"]
ExpertFlags = Bool[np.ndarray, "bank expert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRule:
    """How scores become a group.

    Args:
        k: Experts to choose; None for `top_p`, which needs no number (count).
        selection: `global` the best of all banks, `per_layer` as many of each bank,
            `top_p` of each bank the fewest that hold the share `p` of its scores.
        normalise: `layer` divides scores by the mean of their bank.
        p: Share that `top_p` reaches, 0 to 1; None otherwise.
        only_positive: Scores of 0 and less are never chosen, as of risk differences.
    """

    k: int | None
    selection: Selection = "global"
    normalise: Normalise = "none"
    p: float | None = None
    only_positive: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertPass:
    """What one pass over samples leaves of gradients.

    Args:
        scores: One number per expert and statistic, and per example where a statistic
            is a mean over examples.
        sample_index: Number of each example in the whole data set, ascending.
        batches: ||G_b||_1 / n_e of every batch, in the order in which they came; None
            unless statistics of batches were asked for.
        neurons: Mean over examples of |dW| per neuron of every expert, by path of the
            bank, `[expert neuron]`, biases left out; empty unless asked for.
    """

    scores: ExpertScores
    sample_index: Int64[np.ndarray, " example"]
    batches: Float32[np.ndarray, "batch bank expert"] | None
    neurons: Mapping[str, Float64[np.ndarray, "expert neuron"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertIntervals:
    """What resampled examples say of every expert and of the group.

    Args:
        name: The score that was resampled.
        score: The score of all examples.
        low: Lower end of its percentile interval.
        high: Upper end.
        rank_low: Lower end of the rank's interval, 1 the best.
        rank_high: Upper end.
        frequency: Share of resamples that choose the expert; they sum to the size of
            the group.
        jaccard: Overlap of a resample's group with the group of all examples.
        level: Nominal coverage.
        num_clusters: Independent units that were drawn (count).
        num_resamples: Draws (count).
    """

    name: str
    score: ExpertMap
    low: ExpertMap
    high: ExpertMap
    rank_low: ExpertMap
    rank_high: ExpertMap
    frequency: ExpertMap
    jaccard: Interval
    level: float
    num_clusters: int
    num_resamples: int

    @property
    def stable(self) -> ExpertFlags:
        """Experts that at least 95 % of the resamples choose."""
        return self.frequency >= STABLE


STABLE = 0.95
"""Share of resamples from which on a choice counts as stable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HalvesPoint:
    """How alike two disjoint halves of some examples choose.

    Args:
        num_clusters: Independent units of both halves together (count).
        num_splits: Random splits (count).
        jaccard: Overlap of the two groups; mean over splits and the range that holds
            95 % of them.
        tau: Kendall's tau-b of the two maps of scores, likewise.
        chance: Overlap of two random groups of that size.
    """

    num_clusters: int
    num_splits: int
    jaccard: Interval
    tau: Interval
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitHalves:
    """Would other examples choose the same experts, and would more of them help?

    Args:
        name: The score that was split.
        curve: With a quarter, a half and all of the examples, ascending.
    """

    name: str
    curve: tuple[HalvesPoint, ...]

    @property
    def full(self) -> HalvesPoint:
        """All examples."""
        return self.curve[-1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertTests:
    """Is an expert's score on one side higher than on the other, or is it chance?

    Args:
        t: Welch's t of every expert, or the paired t where examples are paired.
        p: Share of relabelled data with a t at least as high, one-sided.
        p_family: The same against the highest t of all experts: holds for all of them
            at once.
        q: Benjamini-Hochberg over all experts.
        num_tests: Experts that could be tested (count).
        num_draws: Relabellings (count).
        is_paired: Sides were exchanged inside pairs.
    """

    t: ExpertMap
    p: ExpertMap
    p_family: ExpertMap
    q: ExpertMap
    num_tests: int
    num_draws: int
    is_paired: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MatchedExperts:
    """Random groups with as many experts of each bank, and of like traffic.

    Args:
        groups: One group per draw.
        num_unmatched: Members of each draw for which no expert of like traffic was
            left in the bank, so that any other of it was taken (count).
        num_missing: Chosen experts without a counterpart in any draw: too few of
            their bank are unchosen (count).
    """

    groups: Int64[np.ndarray, "draw member 2"]
    num_unmatched: Int64[np.ndarray, " draw"]
    num_missing: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedScores:
    """Does a group stand out in a number that did not choose it?

    Args:
        name: The number, summed over the group as a mean.
        seen: Mean over the group.
        drawn: Mean over each matched random group.
        p_value: (1 + draws at least as high) / (1 + draws).
    """

    name: str
    seen: float
    drawn: tuple[float, ...]
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairAgreement:
    """Do two methods name the same experts?

    Args:
        left: One method.
        right: The other.
        jaccard: Overlap of the two groups. Where a method has no examples to resample,
            the ends are all that is possible and the number of units is 0.
        tau: Kendall's tau-b over all experts, likewise; None where a map does not vary.
        shared_by_bank: Experts of each bank that both choose (count).
        shared_interval: Interval of each of them; empty without resampling.
        chance: Jaccard of two random groups of these sizes.
        chance_by_bank: Experts that both would choose in each bank if each chose as
            many there blindly.
    """

    left: str
    right: str
    jaccard: Interval
    tau: Interval | None
    shared_by_bank: tuple[int, ...]
    shared_interval: tuple[Interval, ...]
    chance: float
    chance_by_bank: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """All methods against all.

    Args:
        methods: Names, in order.
        pairs: One per unordered pair, in the order of `methods`.
    """

    methods: tuple[str, ...]
    pairs: tuple[PairAgreement, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupShape:
    """Is a group more than the depth and the traffic of its experts?

    Args:
        by_bank: Chosen experts of each bank (count).
        normalised: The group that scores divided by their bank's mean choose; None
            where they are not defined.
        normalised_by_bank: Its experts of each bank; None with it.
        normalised_jaccard: Overlap of the two groups; None with it.
        chance: Overlap of two random groups of that size.
        tau_traffic: Kendall's tau-b of score and routed tokens; None where one does
            not vary.
    """

    by_bank: tuple[int, ...]
    normalised: Chosen | None
    normalised_by_bank: tuple[int, ...] | None
    normalised_jaccard: float | None
    chance: float
    tau_traffic: float | None
