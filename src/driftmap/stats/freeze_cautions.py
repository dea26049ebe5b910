"""What must a reader of the freezing experiment know, with its measured value?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from driftmap.core.units import format_count
from driftmap.results.freeze_study import (
    ACCURACY,
    LOG_ODDS,
    REFUSAL,
    FreezeContrast,
    FrozenGroupCard,
    FrozenPart,
    OverlapReading,
)
from driftmap.results.statistics import Caution, Interval
from driftmap.stats.cautions import trial_run

COLLAPSED = 0.5
"""Share of the accuracy before tuning below which a model has collapsed."""

MUCH_BLOCKED = 0.01
"""Part of the tuned weights that may be blocked beside the frozen ones unsaid."""

POOR_CEILING = 0.5
"""Ceiling below which a group is called not reproducible."""

_END = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeFindings:
    """What cautions are read from.

    Args:
        group: What was frozen.
        frozen: How much of it at each share.
        contrasts: Every outcome at every share.
        overlaps: Groups chosen again after tuning.
        before: Accuracies before tuning, by outcome.
        num_shared: Rows that are asked and scored, or learnt, as well.
        is_trial: Whether samples and steps were capped.
        is_four_bit: Whether the blocks were rounded to 4 bits before tuning.
    """

    group: FrozenGroupCard
    frozen: Sequence[FrozenPart]
    contrasts: Sequence[FreezeContrast]
    overlaps: Sequence[OverlapReading]
    before: dict[str, Interval]
    num_shared: int
    is_trial: bool
    is_four_bit: bool


def freeze_cautions(found: FreezeFindings) -> tuple[Caution, ...]:
    """Everything that applies."""
    trial = trial_run(found.is_trial)
    return (
        *([] if trial is None else [trial]),
        *_immobile(found.group),
        *_blocked(found.group, found.frozen),
        *_short(found.group),
        *_rewound(found.group),
        *_collapsed(found.contrasts, found.before),
        *_at_an_end(found.contrasts),
        *_ceiling(found.overlaps),
        *_others(found),
    )


def _immobile(group: FrozenGroupCard) -> Iterator[Caution]:
    share = 1 - group.mobile_share
    if share > 0:
        yield _caution(
            "immobile",
            f"{100 * share:.3g} % of `{group.name}` lies where nothing is tuned: these "
            "weights are frozen in every run, also in those with nothing frozen.",
            share,
        )


def _blocked(group: FrozenGroupCard, frozen: Sequence[FrozenPart]) -> Iterator[Caution]:
    whole = max((p for p in frozen if p.kind == "group"), key=lambda p: p.share)
    share = whole.num_blocked / group.num_tuned
    if share > MUCH_BLOCKED:
        yield _caution(
            "blocked",
            f"With {100 * whole.share:g} % frozen, "
            f"{format_count(round(whole.num_blocked))} other weights cannot move "
            f"either, {100 * share:.3g} % of all tuned ones, because they share a row "
            "or column with a frozen one: what changes is not the group's doing alone.",
            share,
        )


def _short(group: FrozenGroupCard) -> Iterator[Caution]:
    if group.num_short:
        yield _caution(
            "short-controls",
            f"The shortest matched control lacks {format_count(group.num_short)} of "
            f"{format_count(group.num_weights)} weights: too few others are as large.",
            group.num_short / max(1, group.num_weights),
        )


def _rewound(group: FrozenGroupCard) -> Iterator[Caution]:
    if group.way == "rewind":
        yield _caution(
            "rewound",
            "Weights were put back after free training: they are rewound, not frozen, "
            "and the others had adapted to their having moved.",
            1.0,
        )


def _collapsed(
    contrasts: Sequence[FreezeContrast], before: dict[str, Interval]
) -> Iterator[Caution]:
    told = set()
    for one in contrasts:
        was = before.get(one.outcome)
        if was is None or one.against != "free" or not one.outcome.startswith(ACCURACY):
            continue
        levels = {(one.kind, one.share): one.own, ("free", 0.0): one.other}
        for (kind, share), level in levels.items():
            if level.estimate < COLLAPSED * was.estimate and (kind, share) not in told:
                told.add((kind, share))
                part = level.estimate / was.estimate
                yield _caution(
                    "collapsed",
                    f"With {_what(kind, share)}, {one.outcome} is {100 * part:.0f} % "
                    "of what it was before tuning: the model has collapsed, and not "
                    "refusing means nothing there.",
                    part,
                )


def _at_an_end(contrasts: Sequence[FreezeContrast]) -> Iterator[Caution]:
    levels = [
        level.estimate
        for one in contrasts
        if one.outcome == REFUSAL
        for level in (one.own, one.other)
    ]
    if max(levels) <= _END or min(levels) >= 1 - _END:
        value = sum(levels) / len(levels)
        yield _caution(
            "at-an-end",
            f"Every tuned model refuses about {100 * value:.0f} % of the requests, so "
            "that the rate can tell nothing apart: tune for fewer steps or for more, "
            "and look at the log-odds.",
            value,
        )


def _ceiling(overlaps: Sequence[OverlapReading]) -> Iterator[Caution]:
    if not overlaps:
        return
    ceiling = overlaps[0].ceiling
    if ceiling is None:
        yield _caution(
            "no-ceiling",
            "No halves of the samples choose a group of their own, so there is no "
            "ceiling: an overlap below 1 may be noise.",
            0.0,
        )
    elif ceiling < POOR_CEILING:
        yield _caution(
            "poor-ceiling",
            f"Disjoint halves of {overlaps[0].num_samples} samples agree on the group "
            f"to Jaccard {ceiling:.2f} before any tuning: other samples would freeze "
            "other weights.",
            ceiling,
        )


def _others(found: FreezeFindings) -> Iterator[Caution]:
    if found.num_shared:
        yield _caution(
            "shared-samples",
            f"{found.num_shared} prompts that are asked were scored or learnt as well.",
            float(found.num_shared),
        )
    if all(one.outcome != LOG_ODDS for one in found.contrasts):
        yield _caution(
            "no-log-odds",
            "Before tuning the model refuses no prompt, so no token is known to open a "
            "refusal and there are no log-odds.",
            0.0,
        )
    if found.is_four_bit and found.overlaps:
        yield _caution(
            "four-bit",
            "The group was chosen before the blocks were rounded to 4 bits, and again "
            "on the rounded and tuned model: the overlap holds the rounding as well.",
            1.0,
        )


def _what(kind: str, share: float) -> str:
    if kind == "free":
        return "nothing frozen"
    of = "the group" if kind == "group" else "the control"
    return f"{100 * share:g} % of {of} frozen"


def _caution(name: str, sentence: str, value: float) -> Caution:
    return Caution(name=name, sentence=sentence, value=value, is_blocking=False)
