"""Which training runs does the freezing experiment take?"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.recipes.freezing_options import FreezePlan
from driftmap.recipes.options import FREE
from driftmap.results.freeze_study import ArmKind

KIND = "freeze"
"""What a run of the experiment is called in its `run.yaml`."""

FREEZE_FREE = FREE
"""Settings that may differ from those the run was begun with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One training run.

    Args:
        kind: What is frozen in it.
        share: Which part of that.
        number: Its training seed, from 0. Runs of one seed begin with the same adapter
            and read the data in the same order.
    """

    kind: ArmKind
    share: float
    number: int

    @property
    def label(self) -> str:
        """Its name in steps and files.

        >>> Arm(kind="group", share=0.5, number=1).label, Arm(
        ...     kind="free", share=0.0, number=0).label
        ('group-0.5-seed-1', 'free-seed-0')
        """
        share = "" if self.kind == "free" else f"-{self.share:g}"
        return f"{self.kind}{share}-seed-{self.number}"

    @property
    def words(self) -> str:
        """The same for a person."""
        what = {
            "free": "nothing frozen",
            "group": f"{100 * self.share:g} % frozen",
            "matched": f"{100 * self.share:g} % of the control frozen",
        }
        return f"{what[self.kind]}, seed {self.number}"


def arms_of(plan: FreezePlan) -> tuple[Arm, ...]:
    """Every training run of an experiment, seed by seed."""
    return tuple(
        arm
        for number in range(plan.comparing.seeds)
        for arm in _of_seed(plan.freezing.frozen_shares, number)
    )


def _of_seed(shares: Sequence[float], number: int) -> list[Arm]:
    kinds: tuple[ArmKind, ...] = ("group", "matched")
    frozen = [
        Arm(kind=kind, share=share, number=number) for share in shares for kind in kinds
    ]
    return [Arm(kind="free", share=0.0, number=number), *frozen]
