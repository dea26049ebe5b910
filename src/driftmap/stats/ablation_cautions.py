"""What must a reader of an ablation know, with its measured value?"""

from collections.abc import Sequence

from driftmap.results.ablation import (
    ACCURACY,
    LOG_ODDS,
    Ablated,
    DoseContrast,
)
from driftmap.results.statistics import Caution

COLLAPSED = 0.5
"""Share of the intact model's accuracy below which it has collapsed."""

FEW_CONTROLS = 5
"""Controls below which their range tells little."""


def ablation_cautions(
    groups: Sequence[Ablated], contrasts: Sequence[DoseContrast], num_shared: int
) -> tuple[Caution, ...]:
    """Everything that applies.

    Args:
        groups: What was taken away.
        contrasts: Every outcome at every dose.
        num_shared: Rows that are asked and scored as well.
    """
    found = [caution for group in groups for caution in _short(group)]
    found += [c for contrast in contrasts for c in _collapsed(contrast)]
    few = contrasts[0].num_controls
    if few < FEW_CONTROLS:
        found.append(
            Caution(
                name="few-controls",
                sentence=f"{few} control draw{'s' * (few != 1)}: their range says "
                f"little of what chance gives; take {FEW_CONTROLS} or more.",
                value=float(few),
                is_blocking=False,
            )
        )
    if num_shared:
        found.append(
            Caution(
                name="shared-samples",
                sentence=f"{num_shared} prompts were scored and asked as well; what "
                "is taken away was chosen on them.",
                value=float(num_shared),
                is_blocking=False,
            )
        )
    if all(contrast.outcome != LOG_ODDS for contrast in contrasts):
        found.append(
            Caution(
                name="no-log-odds",
                sentence="The intact model refuses no prompt, so no token is known to "
                "open a refusal and there are no log-odds.",
                value=0.0,
                is_blocking=False,
            )
        )
    return tuple(found)


def has_collapsed(contrast: DoseContrast) -> bool:
    """The model without the group is right less than half as often as before."""
    return (
        contrast.outcome.startswith(ACCURACY)
        and contrast.own.estimate < COLLAPSED * contrast.intact.estimate
    )


def _collapsed(contrast: DoseContrast) -> list[Caution]:
    if not has_collapsed(contrast):
        return []
    share = contrast.own.estimate / contrast.intact.estimate
    return [
        Caution(
            name="collapsed",
            sentence=f"At {100 * contrast.dose:g} % of `{contrast.group}` "
            f"{contrast.outcome} is {100 * share:.0f} % of the intact model's: it has "
            "collapsed, and not refusing means nothing there.",
            value=share,
            is_blocking=contrast.dose == 1.0,
        )
    ]


def _short(group: Ablated) -> list[Caution]:
    if not group.num_short:
        return []
    return [
        Caution(
            name="short-controls",
            sentence=f"Controls of `{group.name}` are {group.num_short} of "
            f"{group.num_units} {group.unit} short: too few others are as large.",
            value=group.num_short / max(1, group.num_units),
            is_blocking=False,
        )
    ]
