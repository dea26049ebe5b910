"""Which weights does a score choose, and which choices contradict each other?"""

import re
from dataclasses import dataclass

from driftmap.core.errors import UsageError
from driftmap.recipes.options import (
    ElsewhereOptions,
    GroupOptions,
    ScoringOptions,
    require_share,
)
from driftmap.results.rules import Per
from driftmap.signals.units import Grain

DEFAULT_SHARE = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class PickingOptions:
    """Which weights of one score make a group."""

    share: float = DEFAULT_SHARE
    """Share, highest by score, in the group `top` (0 to 1)."""

    per: Per = "matrix"
    """What the share is of: each matrix, each row, the matrices of each layer together,
    or all matrices together (kind of place)."""

    lowest: bool = False
    """Take the lowest scores, as pruning does, in a group `lowest` (yes or no)."""

    n_m: str | None = None
    """Take N of every M consecutive inputs of a row in place of a share, with
    `--lowest` those that N:M pruning drops (N:M, as in 2:4); by default none."""

    grain: Grain = "weight"
    """Score whole units as well, in `tables/units.parquet`, and keep the same share of
    them as a second group, such as `top-head`: of each matrix for rows and columns, of
    the whole model for others, by mean score of their weights (kind of unit)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work."""
        require_share("--share", self.share)
        if self.pieces and self.share != DEFAULT_SHARE:
            raise UsageError(
                f"--n-m {self.n_m} takes a share of its own, so --share {self.share:g} "
                "means nothing; give one of the two"
            )
        if self.pieces and self.grain != "weight":
            raise UsageError(
                f"--n-m {self.n_m} takes single weights, so --grain {self.grain} means "
                "nothing; give one of the two"
            )

    @property
    def pieces(self) -> tuple[int, int] | None:
        """What `--n-m` says as two numbers."""
        return pieces_of(self.n_m, self.per)


def pieces_of(text: str | None, per: Per) -> tuple[int, int] | None:
    """Read `N:M`; None where it is not given.

    Args:
        text: What `--n-m` says.
        per: What `--per` says.

    Raises:
        UsageError: It is no such pair, or shares are of something else than a matrix.

    >>> pieces_of("2:4", "matrix")
    (2, 4)
    """
    if text is None:
        return None
    pair = re.fullmatch(r"(\d{1,6}):(\d{1,6})", text)
    if pair is None or not 0 < int(pair[1]) < int(pair[2]):
        raise UsageError(
            f"--n-m is {text!r}; give N of every M with N below M, as in 2:4"
        )
    if per != "matrix":
        raise UsageError(
            f"--n-m {text} takes weights of every piece of a row, so --per {per} means "
            "nothing; give one of the two"
        )
    return int(pair[1]), int(pair[2])


def require_contrast(
    scoring: ScoringOptions,
    groups: GroupOptions,
    elsewhere: ElsewhereOptions,
    *,
    keeps_scores: bool,
) -> None:
    """Refuse groups that the scores at hand cannot tell apart.

    Args:
        scoring: Which score.
        groups: Which shares are taken.
        elsewhere: What was made elsewhere; groups that are read need no score.
        keeps_scores: Whether scores are to be written.

    Raises:
        UsageError: The group `difference` would be empty, or there is nothing to keep
            or to compare.
    """
    is_gridded = groups.grid != ((), ())
    option = "--p-grid" if groups.p_grid else "--q-grid"
    if is_gridded and elsewhere.groups is not None:
        raise UsageError(
            f"{option}: groups are read from --groups, so there are no scores to "
            "compare shares of; leave one of the two out"
        )
    if scoring.reads_samples or elsewhere.groups is not None:
        return
    if is_gridded:
        raise UsageError(
            f"{option}: --score {scoring.score} is the same for behaviour and utility, "
            "so there is nothing to compare; leave it out"
        )
    if groups.p > 0:
        raise UsageError(
            f"--score {scoring.score} reads no sample, so that behaviour and utility "
            "claim the same weights; use --p 0, and `difference` is the top --q"
        )
    if keeps_scores:
        raise UsageError(
            f"--keep spares the passes over samples, and --score {scoring.score} takes "
            "none; leave it out"
        )
