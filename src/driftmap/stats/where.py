"""How sure is it that a layer carries a share of what tuning changed?

A share is a ratio of sums over probes: what an exchange costs, of what all of tuning
gained. Probes of one subject are not independent, so intervals draw subjects anew,
each with all its probes, and numerator and denominator together.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.seeds import child_seed
from driftmap.results.statistics import Interval

LEVEL = 0.95
MARGIN = 0.1
"""Share of the new behaviour below which a layer is said to carry none of it."""

LEAST_GAP = 0.05
"""Nats per token that the new behaviour must surely have gained, to divide by."""

_NUM_DRAWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Owners:
    """Draws of subjects, the same for all that is asked of the same probes.

    Args:
        owner: Number of the subject of each probe.
        counts: How often each subject is in each draw.
    """

    owner: Int64[np.ndarray, " probe"]
    counts: Float64[np.ndarray, "draw subject"]

    @staticmethod
    def of(owners: Sequence[str], seed: int) -> "Owners":
        """Draw the subjects of some probes.

        Args:
            owners: Subject of each probe.
            seed: The run's seed.
        """
        names = {name: number for number, name in enumerate(dict.fromkeys(owners))}
        num = len(names)
        rng = np.random.default_rng(child_seed(seed, "where bootstrap"))
        drawn = rng.multinomial(num, np.full(num, 1 / num), size=_NUM_DRAWS)
        return Owners(
            owner=np.array([names[name] for name in owners], np.int64),
            counts=drawn.astype(np.float64),
        )

    @property
    def num(self) -> int:
        """Subjects (count)."""
        return self.counts.shape[1]

    def mean(self, values: Float64[np.ndarray, " probe"]) -> Interval:
        """Mean over probes with its percentile interval over subjects.

        With a single subject nothing varies: both ends are the estimate.

        >>> Owners.of(["a", "b"], 0).mean(np.array([1.0, 1.0])).low
        1.0
        """
        return self.share(values, np.ones_like(values))

    def share(
        self,
        part: Float64[np.ndarray, " probe"],
        whole: Float64[np.ndarray, " probe"],
        num_tests: int = 1,
    ) -> Interval:
        """`sum part / sum whole`, with an interval over subjects.

        Args:
            part: Of each probe.
            whole: Of each probe; its sum is not 0.
            num_tests: The interval is as wide as so many of them need to hold together
                (Bonferroni).

        >>> owners = Owners.of(["a", "b", "b"], 0)
        >>> owners.share(np.array([1.0, 0, 1]), np.array([2.0, 0, 2])).high
        0.5
        """
        estimate = float(part.sum() / whole.sum())
        level = 1 - (1 - LEVEL) / num_tests
        size = self.counts.shape[1]
        over, under = (
            self.counts @ np.bincount(self.owner, weights=v, minlength=size)
            for v in (part, whole)
        )
        held = under != 0
        drawn = over[held] / under[held]
        low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
        return Interval(
            estimate=estimate,
            low=float(min(low, estimate)),
            high=float(max(high, estimate)),
            level=level,
            num=size,
        )


def forms_share(gap: Interval) -> bool:
    """Whether what tuning gained is sure and large enough to divide by."""
    return gap.low > LEAST_GAP
