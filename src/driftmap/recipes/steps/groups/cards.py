"""How is each group introduced to a reader?"""

import math
from collections.abc import Mapping, Sequence

from driftmap.results.drift_study import GroupCard
from driftmap.results.groups import WeightGroup
from driftmap.results.table import Cell, Table

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
            chosen=_how_chosen(group, groups[0]),
            read_from=group.origin.source,
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


def _how_chosen(group: WeightGroup, declared: WeightGroup) -> str:
    source, rule = group.origin.source, _rule(group, declared)
    if not source:
        return rule
    if source.endswith(".json"):
        return f"read from {source}, which names no model"
    return f"read from {source}" + (f": {rule}" if rule else "")


def _rule(group: WeightGroup, declared: WeightGroup) -> str:
    match group.origin.rule:
        case "difference":
            return (
                f"top {_share(group, 'q')} by behaviour score without top "
                f"{_share(group, 'p')} by utility score"
            )
        case "top":
            samples = {"top": "behaviour ", "utility": "utility "}.get(group.name, "")
            units = "" if (grain := group.origin.grain) == "weight" else f" of {grain}s"
            return f"top {_share(group, 'share')}{units} by {samples}score"
        case "matched":
            others = "the groups read" if declared.origin.source else "scored groups"
            return f"as many per size bin as `{declared.name}`, outside {others}"
        case "random":
            return f"{_share(group, 'share')} of each matrix, drawn blindly"
    return ""


def _share(group: WeightGroup, name: str) -> str:
    """A share in per cent; a file from elsewhere may not tell."""
    held = group.origin.shares.get(name)
    return "a share" if held is None else f"{100 * held:.3g} %"
