"""What does inference say about drift, with every number's uncertainty beside it?

These are the numbers of `statistics.json`; the report draws nothing else.
"""

from dataclasses import dataclass
from typing import Literal

EffectLabel = Literal["negligible", "small", "medium", "large"]
VerdictKind = Literal["fragile", "pathway creation", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate and the values it is compatible with.

    Args:
        estimate: The point estimate.
        low: Lower end.
        high: Upper end.
        level: Nominal coverage, .9 or .95.
        num: Independent units behind it: training seeds, prompts.
    """

    estimate: float
    low: float
    high: float
    level: float
    num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NullDistribution:
    """What chance alone gives for one group's ratio.

    Args:
        observed: The group's mean of drift in units of its |W| bin's mean drift,
            whole bins.
        ratios: The same of every draw that permutes rows and columns.
        closed_form_sd: Spread if the weights were drawn one by one within bins:
            a reference that ignores clustering, never used for a p-value.
    """

    observed: float
    ratios: tuple[float, ...]
    closed_form_sd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """What a ratio does not speak of, counted over all matrices of its scope.

    Args:
        num_matrices: Matrices that hold group weights but give no ratio: no
            drift, or no control weight in any bin of the group.
        num_bins: |W| bins that hold group weights but no control weight.
        num_weights: Group weights in those matrices and bins.
        num_immobile: Group weights that could not move: in matrices that were not
            tuned, or kept from it.
    """

    num_matrices: int
    num_bins: int
    num_weights: int
    num_immobile: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRatio:
    """How much a group drifts, relative to weights of its own size.

    Args:
        group: Name of the group.
        metric: What drifted: `absolute`.
        layer: Block it is confined to; None for all.
        part: Part it is confined to; None for all.
        thetas: Mean log ratio over matrices, one per training seed.
        rho: exp of their mean; 1 means as much as its control.
        log_bias: What was taken out of the mean of `thetas`: how far the log of a
            ratio of few weights reads from 0 by chance. The drift table's `ratio`
            still holds it.
        interval90: t interval of rho over seeds; None with one seed.
        interval95: The same at 95 %.
        bootstrap95: Cluster bootstrap of rho: seeds, then (layer, part) cells.
        p_value: Row and column permutation; None where none was asked for.
        p_adjusted: Benjamini-Hochberg over all tests but the primary one;
            None for the primary test itself and for controls, whose p-values
            describe and test nothing.
        num_permutations: Draws behind the p-value.
        is_primary: The one test declared before training.
        num_matrices: Matrices with a ratio.
        num_weights: Group weights in them.
        left_out: What is not counted, and how much.
        null: Ratios under permutation; kept for whole-model ratios only.
    """

    group: str
    metric: str
    layer: int | None
    part: str | None
    thetas: tuple[float, ...]
    rho: float
    log_bias: float
    interval90: Interval | None
    interval95: Interval | None
    bootstrap95: Interval | None
    p_value: float | None
    p_adjusted: float | None
    num_permutations: int
    is_primary: bool
    num_matrices: int
    num_weights: int
    left_out: LeftOut
    null: NullDistribution | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Location and spread of one group's drift, for effect sizes.

    Args:
        count: Weights.
        mean: Their mean.
        std: Their standard deviation, ddof 0.
        median: Their median.
    """

    count: int
    mean: float
    std: float
    median: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectSize:
    """How far apart two groups' drifts lie; description, not a test.

    Args:
        group: The group in question.
        baseline: What it is compared with: `utility`, `random`, ...
        metric: What drifted.
        cohens_d: Difference of means in pooled standard deviations; None where
            neither group varies.
        label: Cohen's word for its size; None with it.
        mean_difference: Mean of the group minus mean of the baseline.
        median_difference: The same of medians.
        cliffs_delta: P(group > baseline) - P(group < baseline); None where only
            summaries are known.
        of_group: Summary of the group.
        of_baseline: Summary of the baseline.
    """

    group: str
    baseline: str
    metric: str
    cohens_d: float | None
    label: EffectLabel | None
    mean_difference: float
    median_difference: float
    cliffs_delta: float | None
    of_group: Summary
    of_baseline: Summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Two one-sided tests of "drifts alike, within the margin".

    Args:
        group: The group in question.
        margin: M; alike means a ratio between 1 / M and M.
        p_value: The larger of the two one-sided p-values; None with one seed.
        is_similar: The 90 % interval lies inside the margin.
    """

    group: str
    margin: float
    p_value: float | None
    is_similar: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """A reason to read a number with care.

    Args:
        name: Short key: `few-seeds`, `half-precision`, ...
        sentence: What was found, with its value, and what it means.
        value: The measured value that triggered it.
        is_blocking: No verdict may rest on these numbers.
    """

    name: str
    sentence: str
    value: float
    is_blocking: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourChange:
    """What tuning did to a behaviour, paired by prompt.

    Args:
        outcome: What was counted: `refusal rate`, `accuracy`.
        before: Rate before tuning, with its Wilson interval.
        after: Mean rate after tuning over seeds, Wilson interval at the number
            of prompts.
        change: After minus before, paired bootstrap over prompts.
    """

    outcome: str
    before: Interval
    after: Interval
    change: Interval

    @property
    def has_changed(self) -> bool:
        """The interval of the change leaves out zero."""
        return self.change.low > 0 or self.change.high < 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The answer in words, from the primary test and its preconditions.

    Args:
        kind: Which of the three readings.
        sentence: The verdict as a person reads it.
        reason: Why it is inconclusive; empty otherwise.
        settles: What would settle it; empty otherwise.
        group: The declared group.
        margin: The declared margin M.
        interval90: The ratio's 90 % interval it was read from; None without.
    """

    kind: VerdictKind
    sentence: str
    reason: str
    settles: str
    group: str
    margin: float
    interval90: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftStatistics:
    """All that `statistics.json` holds.

    Args:
        step: Training step that was tested: the last one.
        num_seeds: Training seeds.
        ratios: Primary test first, then whole model, layers, parts by group.
        effects: Group against baseline.
        equivalences: Group against its matched control.
        behaviours: Outcomes before and after; the declared one first.
        cautions: What to keep in mind.
        verdict: The answer.
    """

    step: int
    num_seeds: int
    ratios: tuple[GroupRatio, ...]
    effects: tuple[EffectSize, ...]
    equivalences: tuple[Equivalence, ...]
    behaviours: tuple[BehaviourChange, ...]
    cautions: tuple[Caution, ...]
    verdict: Verdict

    @property
    def primary(self) -> GroupRatio | None:
        """The test declared before training; None where its group could not move."""
        return next((ratio for ratio in self.ratios if ratio.is_primary), None)
