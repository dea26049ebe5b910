"""Does freezing the weights of a behaviour keep it through tuning? What was found."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.freezing import FreezingWay
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution, Interval
from driftmap.results.table import Table

ArmKind = Literal["free", "group", "matched"]
"""What is frozen in a training run: nothing, a part of the group, or as much of its
matched control."""

BEFORE = "before"
"""What tables call the model before tuning."""

MEAN = -1
"""`seed` of rows that speak of the mean over training seeds, or of before tuning."""

REFUSAL = "refusal rate"
LOG_ODDS = "refusal log-odds"
ACCURACY = "accuracy on "
"""Outcomes, as tables name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenGroupCard:
    """The group whose weights are frozen.

    Args:
        name: What tables call it.
        num_weights: Its size.
        share: Its size over all scored weights.
        chosen: How it was chosen, in words.
        way: How its weights are kept.
        num_mobile: Those of its weights that lie in tuned matrices: the others would
            not have moved anyway.
        num_tuned: Weights of all tuned matrices.
        num_short: Weights that the shortest matched control lacks.
    """

    name: str
    num_weights: int
    share: float
    chosen: str
    way: FreezingWay
    num_mobile: int
    num_tuned: int
    num_short: int

    @property
    def mobile_share(self) -> float:
        """Part of the group that tuning can move; 0 for an empty group."""
        return self.num_mobile / self.num_weights if self.num_weights else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenPart:
    """What was frozen at one share, mean over training seeds.

    Args:
        kind: Group or matched control.
        share: Part of it.
        num_frozen: Weights that were frozen.
        num_mobile: Those of them that tuning would have moved.
        num_blocked: Further weights that could not move with them.
    """

    kind: ArmKind
    share: float
    num_frozen: float
    num_mobile: float
    num_blocked: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeContrast:
    """One outcome at one share: two kinds of training runs, paired by prompt and seed.

    Args:
        outcome: What was read.
        share: Part of the group, or of its control, that was frozen.
        kind: What was frozen in the first.
        against: What was frozen in the second; `free` for nothing.
        own: Level of the first, mean over seeds.
        other: Level of the second.
        by_seed: First minus second, one mean over prompts per training seed.
        over_seeds: The same over seeds, t interval; None with one seed.
        over_prompts: The same over prompts, bootstrap, seeds taken as given.
        within: Least margin in which both 90 % intervals lie; None with one seed.
        p_value: The larger of the two p-values, over seeds and over prompts; None
            with one seed.
        p_adjusted: Benjamini-Hochberg over all but the declared one; None for that.
        is_declared: The one declared before training.
    """

    outcome: str
    share: float
    kind: ArmKind
    against: ArmKind
    own: Interval
    other: Interval
    by_seed: tuple[float, ...]
    over_seeds: Interval | None
    over_prompts: Interval
    within: float | None
    p_value: float | None
    p_adjusted: float | None
    is_declared: bool

    @property
    def differs(self) -> bool:
        """Both intervals leave out 0, on the same side."""
        if self.over_seeds is None:
            return False
        both = (self.over_seeds, self.over_prompts)
        return all(i.low > 0 for i in both) or all(i.high < 0 for i in both)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlapReading:
    """How much of the group is chosen again after tuning, over all matrices.

    Values are means over training seeds, with t intervals over them, which are without
    extent where there is one; `None` where a figure is not known.

    Args:
        kind: What was frozen in these training runs.
        share: Which part of it.
        jaccard: Old and new group, chosen by the same samples: 1 where nothing
            changed.
        across: Old group by one half of the samples against new group by the other
            half: the ceiling where nothing changed.
        kept: Part of the old group that is in the new one.
        kept_frozen: The same of those of its weights that were frozen.
        kept_mobile: The same of those that could move.
        frozen_new: Part of what was frozen that is in the new group, whatever group
            it was of.
        floor: Jaccard of random groups of the sizes of `jaccard`.
        ceiling: Jaccard of old groups by disjoint halves of the samples.
        standing: Where `across` stands between floor, 0, and ceiling, 1.
        num_samples: Samples in each half.
    """

    kind: ArmKind
    share: float
    jaccard: Interval
    across: Interval | None
    kept: float
    kept_frozen: float | None
    kept_mobile: float | None
    frozen_new: float | None
    floor: float
    ceiling: float | None
    standing: float | None
    num_samples: int


FreezeKind = Literal[
    "helps",
    "costs",
    "harms",
    "alike",
    "not found",
    "nothing lost",
    "few seeds",
    "trial",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeVerdict:
    """Does freezing the declared share help?

    Args:
        kind: `helps`: more refusal is left than with the control frozen and than with
            nothing frozen; `costs`: the same, but ordinary ability falls; `harms`:
            less is left; `alike`: the difference is shown to be below the margin;
            `not found`: neither; `nothing lost`: tuning took no refusal away, so that
            there was nothing to keep; `few seeds`: fewer than three training seeds;
            `trial`: samples and steps were capped.
        sentence: The same with its numbers.
        seeds_needed: Training seeds at which a difference as large as the margin
            would be told from none; None where that is settled or not known.
    """

    kind: FreezeKind
    sentence: str
    seeds_needed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeStatistics:
    """What follows from the readings and from scoring again.

    Args:
        group: What is frozen.
        declared_share: Share of the declared test.
        margin: Difference of the refusal rate that matters.
        num_seeds: Training seeds of each kind of run.
        lost: Refusal rate after free tuning minus before it, over prompts.
        lost_odds: The same of the refusal log-odds; None where there are none.
        before: Refusal rate before tuning.
        free: The same after free tuning, mean over seeds.
        frozen: What was frozen at each share.
        contrasts: Every outcome at every share, the declared one first.
        overlaps: The group chosen again after tuning.
        cautions: What must be read with care.
        verdict: Does freezing help?
    """

    group: FrozenGroupCard
    declared_share: float
    margin: float
    num_seeds: int
    lost: Interval
    lost_odds: Interval | None
    before: Interval
    free: Interval
    frozen: tuple[FrozenPart, ...]
    contrasts: tuple[FreezeContrast, ...]
    overlaps: tuple[OverlapReading, ...]
    cautions: tuple[Caution, ...]
    verdict: FreezeVerdict

    def declared(self) -> FreezeContrast:
        """The declared contrast."""
        return next(c for c in self.contrasts if c.is_declared)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FreezeStudy:
    """All that a run folder says about one experiment.

    Args:
        settings: The resolved recipe, option -> value.
        model: The model as loaded.
        statistics: Contrasts, overlaps, cautions, verdict.
        curve: Columns kind, share, seed, outcome, value, count, low, high; `seed` -1
            is the mean over seeds.
        overlap: Columns kind, share, seed, matrix and those of an overlap table;
            empty where nothing was scored again.
        examples: Columns sample_id, before, free, group: some answers.
        versions: Package -> version of what made the run.
    """

    settings: Mapping[str, object]
    model: ModelIdentity
    statistics: FreezeStatistics
    curve: Table
    overlap: Table
    examples: Table
    versions: Mapping[str, str]
