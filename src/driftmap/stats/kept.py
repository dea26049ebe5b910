"""What can be said of a group of which some weights were kept from moving?"""

from collections.abc import Sequence

from driftmap.results.evidence import MatrixEvidence
from driftmap.results.statistics import BehaviourChange, Verdict
from driftmap.stats.equivalence import require_margin
from driftmap.stats.verdict import change_in_points


def kept_share(evidence: Sequence[MatrixEvidence], group: str) -> float:
    """Share of a group's weights that were kept from moving, frozen or blocked.

    Args:
        evidence: One entry per matrix that holds any of the group's weights.
        group: Its name; 0 if it has no weight at all.
    """
    held = [m.groups[group] for m in evidence if group in m.groups]
    return sum(g.num_kept for g in held) / max(1, sum(g.num_members for g in held))


def has_ratio(evidence: Sequence[MatrixEvidence], group: str) -> bool:
    """Whether a group has drifted beside its control in any matrix."""
    return any(group in m.groups and m.groups[group].has_ratio for m in evidence)


def undecided(group: str, behaviour: BehaviourChange, margin: float) -> Verdict:
    """The verdict where no weight of the declared group could drift.

    Args:
        group: Its name.
        behaviour: What tuning did to the declared outcome.
        margin: M, above 1, declared before training.

    Raises:
        UsageError: The margin is not above 1.
    """
    require_margin(margin)
    reason = (
        f"no weight of `{group}` that has a control could drift, since they were kept "
        f"from moving ({change_in_points(behaviour)})"
    )
    settles = (
        "Leave --freeze out to ask whether they drift, and compare what the two runs "
        "did to the behaviour."
    )
    return Verdict(
        kind="inconclusive",
        sentence=f"Inconclusive: {reason}. {settles}",
        reason=reason,
        settles=settles,
        group=group,
        margin=margin,
        interval90=None,
    )
