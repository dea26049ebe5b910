"""Which options say what is frozen, how much of it, and what a difference is?"""

from dataclasses import dataclass
from typing import Annotated, Literal

from cyclopts import Parameter, Token

from driftmap.core.errors import UsageError
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
    require_at_least,
    section,
)
from driftmap.results.freezing import FreezingWay
from driftmap.tune.settings import TuningSettings
from driftmap.tune.ways import require_way

FREEZING = section("Freezing", 5)
COMPARING = section("Comparing", 7)

HALF = 0.5
"""The question is whether freezing up to this share of a group helps."""

FrozenGroup = Literal["difference", "top"]
Rescored = Literal["ends", "all", "none"]


def _listed(_kind: object, tokens: object) -> tuple[float, ...]:
    """Read numbers with commas or spaces between them."""
    assert isinstance(tokens, list | tuple)
    words = [token.value for token in tokens if isinstance(token, Token)]
    return tuple(float(one) for word in words for one in word.split(","))


Shares = Annotated[
    tuple[float, ...], Parameter(converter=_listed, consume_multiple=True)
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezingOptions:
    """What is frozen, how, and which tuned models are scored again."""

    freeze: FrozenGroup = "difference"
    """Group whose weights are frozen: `difference` (high by behaviour score, not by
    utility score) or `top` (high by behaviour score) (name)."""

    freeze_by: FreezingWay = "element"
    """How they are kept: each weight alone, with its whole row or column of the
    adapter's change, or put back after free training, which is called rewound
    (element, rows, columns or rewind)."""

    shares: Shares = (0.0, 0.25, 0.5, 0.75, 1.0)
    """Parts of the group that are frozen, each in training runs of its own (0 to 1,
    such as `0 .5 1`); 0 is always among them."""

    rescore: Rescored = "ends"
    """Which tuned models are scored again, to see which weights then carry the
    behaviour: those with nothing and with most frozen (`ends`), `all`, or `none`
    (kind)."""

    def __post_init__(self) -> None:
        """Refuse shares that mean nothing."""
        for share in self.shares:
            if not 0 <= share <= 1:
                raise UsageError(f"--shares is {share:g}; give shares from 0 to 1")
        if not self.frozen_shares:
            raise UsageError("--shares holds no share above 0; give one, as 0.5")

    @property
    def frozen_shares(self) -> tuple[float, ...]:
        """Shares above 0, ascending.

        >>> FreezingOptions(shares=(1.0, 0.0, 0.5, 0.5)).frozen_shares
        (0.5, 1.0)
        """
        return tuple(sorted({float(share) for share in self.shares if share}))

    @property
    def declared_share(self) -> float:
        """The share of the declared test: the largest up to one half, else the least.

        >>> FreezingOptions().declared_share
        0.5
        >>> FreezingOptions(shares=(0.75, 1.0)).declared_share
        0.75
        """
        shares = self.frozen_shares
        return max((s for s in shares if s <= HALF), default=shares[0])

    @property
    def rescored_shares(self) -> tuple[float, ...]:
        """Shares at which tuned models are scored again.

        >>> FreezingOptions().rescored_shares
        (0.0, 1.0)
        """
        if self.rescore == "none":
            return ()
        all_shares = (0.0, *self.frozen_shares)
        return all_shares if self.rescore == "all" else (0.0, all_shares[-1])


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparingOptions:
    """How many training runs there are, and what a difference is."""

    seeds: int = 3
    """Training runs with different seeds at each share; fewer than 3 allow no verdict
    (count)."""

    margin: float = 0.1
    """Difference of the refusal rate that matters, declared before training (0 to 1,
    so that 0.1 is 10 points)."""

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        require_at_least("--seeds", self.seeds, 1)
        if not 0 < self.margin < 1:
            raise UsageError(
                f"--margin is {self.margin:g}; give a difference between 0 and 1, as "
                "0.1"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezePlan:
    """What is done.

    Args:
        scoring: How weights are scored, before and after tuning.
        groups: Which of them make a group.
        freezing: What is frozen, and how.
        tuning: How the model is tuned.
        evaluation: What it is asked.
        comparing: Training seeds, and what a difference is.
        is_trial: Whether samples and steps are capped.
    """

    scoring: ScoringOptions
    groups: GroupOptions
    freezing: FreezingOptions
    tuning: TuningSettings
    evaluation: EvaluationOptions
    comparing: ComparingOptions
    is_trial: bool


def require_freezing(
    freezing: FreezingOptions, tuning: TuningSettings, groups: GroupOptions
) -> None:
    """Refuse what this kind of tuning cannot freeze, or what would do nothing.

    Raises:
        UsageError: The message names the option.
    """
    require_way(freezing.freeze_by, tuning)
    if tuning.is_four_bit and tuning.dora and freezing.rescore != "none":
        raise UsageError(
            "--dora on weights of 4 bits leaves no weight that could be scored again; "
            "give --rescore none, or tune with lora"
        )
    if groups.grid != ((), ()):
        option = "--p-grid" if groups.p_grid else "--q-grid"
        raise UsageError(
            f"{option} makes a table of other groups, which `driftmap drift` shows; "
            "one group is frozen here, so leave it out"
        )
