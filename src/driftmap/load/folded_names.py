"""How do the names of equal things in many blocks become one line?

`layers.0.q_proj`, `layers.1.q_proj` and `layers.2.q_proj` are `layers.0-2.q_proj`,
three times.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded(Generic[Value]):
    """Names that differ in their numbers alone and stand for equal values.

    Args:
        name: All of them, numbers as ranges.
        times: How many they are.
        value: What each stands for.
    """

    name: str
    times: int
    value: Value


def fold_names(values: Mapping[str, Value]) -> tuple[Folded[Value], ...]:
    """Fold dotted names, in the order of the first of each kind.

    Args:
        values: What each name stands for.

    >>> fold_names({"h.0.a": 1, "h.0.b": 2, "h.1.a": 1, "h.3.a": 1})[0]
    Folded(name='h.0-1,3.a', times=3, value=1)
    """
    groups: dict[tuple[tuple[str, ...], Value], list[tuple[str, ...]]] = {}
    for name, value in values.items():
        words = tuple(name.split("."))
        shape = tuple("" if word.isdecimal() else word for word in words)
        groups.setdefault((shape, value), []).append(words)
    return tuple(
        Folded(name=_joined(members), times=len(members), value=value)
        for (_, value), members in groups.items()
    )


def ranges(numbers: Sequence[int]) -> str:
    """Numbers as ranges.

    >>> ranges([3, 0, 1, 2, 7])
    '0-3,7'
    """
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ",".join(
        str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found
    )


def _joined(members: Sequence[tuple[str, ...]]) -> str:
    return ".".join(
        ranges([int(word) for word in words]) if words[0].isdecimal() else words[0]
        for words in zip(*members, strict=True)
    )
