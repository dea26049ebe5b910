"""How is each group introduced to a reader?"""

import math
from collections.abc import Mapping, Sequence

from driftmap.results.drift_study import GroupCard
from driftmap.results.groups import WeightGroup
from driftmap.results.table import Cell, Table

DECLARED = "difference"
"""The group of the one test that is declared before training, where a run chose it."""

STATISTICS_KIND = "driftmap.statistics"


def group_cards(
    groups: Sequence[WeightGroup], num_scored: int, agreement: Table
) -> tuple[GroupCard, ...]:
    """Say of each group how large it is and how it was chosen.

    Args:
        groups: The groups of a study.
        num_scored: Weights of all scored matrices.
        agreement: What halves of the samples agree on, by group.
    """
    halves = {str(row["group"]): row for row in agreement.rows()}
    return tuple(
        GroupCard(
            name=group.name,
            num_weights=group.num_weights,
            share=group.num_weights / num_scored,
            chosen=_how_chosen(group.name, group.origin.shares),
            agreement=_figure(halves, group.name, "jaccard"),
            agreement_by_chance=_figure(halves, group.name, "by_chance"),
        )
        for group in groups
    )


def _figure(
    halves: Mapping[str, Mapping[str, Cell]], group: str, column: str
) -> float | None:
    value = float(halves[group][column]) if group in halves else math.nan
    return value if math.isfinite(value) else None


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
