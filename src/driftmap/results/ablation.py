"""What does a model do without some of its weights, and what without any others?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution, Interval
from driftmap.results.table import Table

INTACT = "intact"
"""What tables call the model before anything is taken away."""

OWN = -1
"""`draw` of rows that speak of the group itself, not of a control."""

REFUSAL = "refusal rate"
LOG_ODDS = "refusal log-odds"
ACCURACY = "accuracy on "
ANSWER_NATS = "answers under the intact model"
"""Outcomes, as tables name them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablated:
    """What was taken away, or given other values, at full dose.

    Args:
        name: What tables and charts call it.
        unit: What is counted: `weights`, `heads` or `directions`.
        num_units: How many of them.
        num_weights: Weights whose values change.
        share: These over all scored weights.
        chosen: How it was chosen, in words.
        control: What its controls are, in words.
        num_short: Units that the controls lack because too few others are alike.
        note: What else a reader must know, a sentence; empty for nothing.
    """

    name: str
    unit: str
    num_units: int
    num_weights: int
    share: float
    chosen: str
    control: str
    num_short: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoseContrast:
    """One outcome at one dose: the group against its controls, paired by prompt.

    Args:
        group: Name of the group.
        dose: Share of it that was taken.
        outcome: What was read.
        intact: The untouched model.
        own: The model without the group.
        control_mean: Mean over the controls.
        control_low: The lowest control.
        control_high: The highest.
        num_controls: How many there are.
        difference: Group minus mean control, bootstrap over prompts and controls.
        p_value: Two-sided, from random signs of the prompts' differences.
        p_adjusted: Benjamini-Hochberg over all but the declared one; None for that.
        is_primary: The one declared before anything was measured.
    """

    group: str
    dose: float
    outcome: str
    intact: Interval
    own: Interval
    control_mean: float
    control_low: float
    control_high: float
    num_controls: int
    difference: Interval
    p_value: float
    p_adjusted: float | None
    is_primary: bool

    @property
    def is_beyond_controls(self) -> bool:
        """No control lies as far out as the group."""
        estimate = self.own.estimate
        return estimate < self.control_low or estimate > self.control_high

    @property
    def differs(self) -> bool:
        """The interval of the difference leaves out zero, and no control is as far."""
        apart = self.difference.low > 0 or self.difference.high < 0
        return apart and self.is_beyond_controls


AblationKind = Literal["carries", "breaks", "collapsed", "no difference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationVerdict:
    """What the declared contrast says, beside what became of ordinary ability.

    Args:
        kind: `carries`: refusal changes more than without any control, and ordinary
            ability stays; `breaks`: that ability falls as well; `collapsed`: hardly
            any of it is left; `no difference`: no more than a control does.
        sentence: The same with its numbers.
    """

    kind: AblationKind
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationStatistics:
    """What follows from the readings.

    Args:
        by: What was done: `zero`, `restore`, ...
        groups: What it was done to, the declared one first.
        contrasts: Every outcome at every dose, the declared one first.
        cautions: What must be read with care.
        verdict: What the declared contrast says.
    """

    by: str
    groups: tuple[Ablated, ...]
    contrasts: tuple[DoseContrast, ...]
    cautions: tuple[Caution, ...]
    verdict: AblationVerdict

    def primary(self) -> DoseContrast:
        """The declared contrast."""
        return next(c for c in self.contrasts if c.is_primary)

    def at(self, group: str, dose: float, outcome: str) -> DoseContrast | None:
        """The contrast of a group, dose and outcome; None where it was not read."""
        return next(
            (
                c
                for c in self.contrasts
                if (c.group, c.dose, c.outcome) == (group, dose, outcome)
            ),
            None,
        )

    def full_dose(self, group: str) -> tuple[DoseContrast, ...]:
        """All outcomes of a group at its largest dose."""
        of_group = [c for c in self.contrasts if c.group == group]
        most = max(c.dose for c in of_group)
        return tuple(c for c in of_group if c.dose == most)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AblationStudy:
    """All that a run folder says about one ablation.

    Args:
        settings: The resolved recipe, option -> value.
        model: The model as loaded.
        statistics: Contrasts and cautions.
        doses: Columns group, draw, dose, outcome, value, count, low, high.
        examples: Columns group, sample_id, request, before, after: some answers.
        versions: Package -> version of what made the run.
        directions: Columns path, layer, part, most, rank, taken, energy_share,
            num_tokens; None where no directions were taken.
    """

    settings: Mapping[str, object]
    model: ModelIdentity
    statistics: AblationStatistics
    doses: Table
    examples: Table
    versions: Mapping[str, str]
    directions: Table | None = None
