"""What do drift logs leave out, and what in them must be read with care?"""

from collections.abc import Iterator, Sequence
from math import log

import numpy as np

from driftmap.results.statistics import Caution
from driftmap.results.table import Table
from driftmap.stats.log_effects import BASELINES

ABSOLUTE = "absolute_change"
RELATIVE = "relative_change"
PER_WEIGHT = (ABSOLUTE, RELATIVE)
"""Metrics of single weights, as the published logs call them."""

_FEW_BITS = 12
_LEAST_VALUES = 4
_FAR_RATIO = 1.1


def log_gaps(logs: Table) -> tuple[str, ...]:
    """Say what the logs leave out, hold as empty, or leave without a comparison.

    Args:
        logs: Columns as `store.drift_logs.import_drift_logs` gives them.
    """
    return tuple(
        sentence
        for find in (_missing, _empty, _changed_counts, _no_baseline)
        for sentence in find(logs)
    )


def log_cautions(logs: Table) -> tuple[Caution, ...]:
    """Say which numbers of the logs mislead, with the value that shows it.

    Args:
        logs: Columns as `store.drift_logs.import_drift_logs` gives them.
    """
    found = (_half_precision(logs), _still(logs), _relative_size(logs))
    return tuple(caution for caution in found if caution is not None)


def _missing(logs: Table) -> Iterator[str]:
    steps, groups = logs.unique("step"), logs.unique("group")
    for metric in logs.unique("metric"):
        of_metric = logs.where(metric=metric)
        own = of_metric.unique("step")
        if len(own) < len(steps):
            yield f"`{metric}` is logged only at {_steps(own)}"
        for group in groups:
            there = of_metric.where(group=group)["step"].tolist()
            if not there:
                yield f"`{metric}` says nothing of `{group}`"
            elif len(there) < len(own):
                yield f"`{metric}` holds `{group}` only at {_steps(there)}"


def _empty(logs: Table) -> Iterator[str]:
    for metric in logs.unique("metric"):
        empty = logs.where(metric=metric, count=0)
        for group in empty.unique("group"):
            at = _steps(empty.where(group=group)["step"].tolist())
            yield (
                f"`{group}` holds nothing (count 0) in `{metric}` at {at}: its zeros "
                "are no measurement, so it is neither drawn nor compared there"
            )


def _changed_counts(logs: Table) -> Iterator[str]:
    for metric in logs.unique("metric"):
        for group in logs.unique("group"):
            counts = logs.where(metric=metric, group=group)["count"]
            if len(set(counts.tolist())) > 1:
                yield (
                    f"`{group}` holds {counts.min():,} to {counts.max():,} in "
                    f"`{metric}`: the steps do not speak of the same weights"
                )


def _no_baseline(logs: Table) -> Iterator[str]:
    if not set(BASELINES) & set(logs.unique("group")):
        names = ", ".join(f"`{name}`" for name in BASELINES)
        yield f"no group is called one of {names}: there is nothing to compare with"


def _steps(steps: Sequence[object]) -> str:
    shown = ", ".join(map(str, steps[:4]))
    more = f" and {len(steps) - 4} more" if len(steps) > 4 else ""
    return f"step{'s' * (len(steps) > 1)} {shown}{more}"


def _half_precision(logs: Table) -> Caution | None:
    """Differences of 16-bit weights have few binary digits; others do not."""
    greatest = {v for v in logs.where(metric=ABSOLUTE)["max"].tolist() if v > 0}
    if len(greatest) < _LEAST_VALUES:
        return None
    most = max(map(_num_bits, greatest))
    if most > _FEW_BITS:
        return None
    return Caution(
        name="half-precision",
        sentence=f"The {len(greatest)} different greatest changes have at most {most} "
        "binary digits, as differences of 16-bit weights do (bfloat16, float16). "
        "Changes below half a spacing of such weights read as 0, the more so the "
        "larger the weight, and groups chosen by score hold large weights: a group "
        "can look still because of rounding alone.",
        value=float(most),
        is_blocking=True,
    )


def _num_bits(value: float) -> int:
    """Binary digits of a number from its first to its last 1.

    >>> _num_bits(0.75), _num_bits(0.1) > 50
    (2, True)
    """
    numerator, _ = value.as_integer_ratio()
    return (numerator // (numerator & -numerator)).bit_length()


def _still(logs: Table) -> Caution | None:
    """Quartiles of zero: most of the group lies where nothing moved."""
    still = [
        row
        for metric in PER_WEIGHT
        for row in logs.where(metric=metric).rows()
        if row["count"] and row["q75"] == 0 and float(row["max"]) > 0
    ]
    if not still:
        return None
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(r["group"] for r in still))
    return Caution(
        name="immobile",
        sentence=f"At least three quarters of {names} changed by exactly 0: their "
        "matrices were not tuned, which such logs count as 0, or the number type "
        "could not hold the change. Medians and boxes say nothing then, and a mean "
        "depends on how much of its group could move.",
        value=float(len(still)),
        is_blocking=False,
    )


def _relative_size(logs: Table) -> Caution | None:
    """Dividing by the weight's own size makes groups of large weights look still."""
    worst: tuple[float, str] | None = None
    for group, other, absolute, relative in _both_ratios(logs):
        apart = abs(log(relative / absolute))
        if relative < 1:
            group, other = other, group
            absolute, relative = 1 / absolute, 1 / relative
        if apart > log(_FAR_RATIO) and (worst is None or apart > worst[0]):
            worst = (
                apart,
                f"`{RELATIVE}` says that `{group}` moved {relative:.3g} times as far "
                f"as `{other}`, `{ABSOLUTE}` says {absolute:.3g} times. Dividing by "
                "|W| makes a group of large weights look still, and groups chosen by "
                f"score hold large weights: compare groups by `{ABSOLUTE}`.",
            )
    if worst is None:
        return None
    return Caution(
        name="relative",
        sentence=worst[1],
        value=float(np.exp(worst[0])),
        is_blocking=False,
    )


def _both_ratios(logs: Table) -> Iterator[tuple[str, str, float, float]]:
    """Ratio of every group's mean to each baseline's, in both metrics, last step."""
    both = [_last_means(logs.where(metric=metric)) for metric in PER_WEIGHT]
    shared = [name for name in both[0] if name in both[1]]
    for other in (name for name in BASELINES if name in shared):
        for group in shared:
            if group != other:
                absolute, relative = (of[group] / of[other] for of in both)
                yield group, other, absolute, relative


def _last_means(logs: Table) -> dict[str, float]:
    """Means above 0 at the last step of a metric, by group."""
    if not len(logs):
        return {}
    last = logs.where(step=int(logs["step"].max()))
    return {str(r["group"]): float(r["mean"]) for r in last.rows() if r["mean"]}
