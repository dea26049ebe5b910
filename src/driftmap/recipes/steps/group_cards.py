"""How is each group introduced to a reader?"""

from collections.abc import Mapping, Sequence

from driftmap.results.drift_study import GroupCard
from driftmap.results.groups import WeightGroup

DECLARED = "difference"
"""The group of the one test that is declared before training."""

ORDER = (DECLARED, "matched", "top", "utility", "random")
"""Groups as reports list them, the declared one and its control first."""


MODEL_FILE = "model.json"
"""Where a run keeps which model it speaks of."""

MODEL_KIND = "driftmap.model"
STATISTICS_KIND = "driftmap.statistics"


def group_cards(
    groups: Sequence[WeightGroup], num_scored: int
) -> tuple[GroupCard, ...]:
    """Say of each group how large it is and how it was chosen.

    Args:
        groups: The groups of a study.
        num_scored: Weights of all scored matrices.
    """
    return tuple(
        GroupCard(
            name=group.name,
            num_weights=group.num_weights,
            share=group.num_weights / num_scored,
            chosen=_how_chosen(group.name, group.origin.shares),
        )
        for group in groups
    )


def _how_chosen(name: str, shares: Mapping[str, float]) -> str:
    share = {key: f"{100 * value:g} %" for key, value in shares.items()}
    if name == DECLARED:
        return (
            f"top {share['q']} by behaviour score without top {share['p']} by "
            "utility score"
        )
    return {
        "matched": f"as many per size bin as `{DECLARED}`, outside scored groups",
        "top": f"top {share.get('share')} by behaviour score",
        "utility": f"top {share.get('share')} by utility score",
        "random": f"{share.get('share')} of each matrix, drawn blindly",
    }[name]
