"""How does what a fold has added up become plain arrays, and what it was again?

A state is a row of tensors, numbers and tuples of these, or a tuple of such rows. Its
arrays have dotted names; a tensor that no sample reached has none.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor

State = TypeVar("State")


def state_to_arrays(state: object) -> dict[str, np.ndarray]:
    """Turn a state into arrays on the CPU.

    Args:
        state: What `Fold.update` has given.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Sums:
    ...     total: Tensor | None = None
    ...     num_samples: int = 0
    >>> arrays = state_to_arrays((Sums(num_samples=2), Sums(total=torch.ones(1))))
    >>> sorted(arrays)
    ['0.num_samples', '1.num_samples', '1.total']
    >>> state_from_arrays((Sums(), Sums()), arrays)[1].total
    tensor([1.])
    """
    return {name: array for name, array in _named("", state) if array is not None}


def state_from_arrays(empty: State, arrays: Mapping[str, np.ndarray]) -> State:
    """Build a state from its arrays.

    Args:
        empty: The state before any sample, as `Fold.start` gives it.
        arrays: What `state_to_arrays` made of one of its kind.
    """
    return cast(State, _built("", empty, arrays))


def _named(prefix: str, value: object) -> list[tuple[str, np.ndarray | None]]:
    if is_dataclass(value):
        return [
            pair
            for field in fields(value)
            for pair in _named(_under(prefix, field.name), getattr(value, field.name))
        ]
    if isinstance(value, tuple) and all(type(one) is int for one in value):
        return [(prefix, np.array(value, np.int64) if value else None)]
    if isinstance(value, tuple):
        return [
            pair
            for number, one in enumerate(value)
            for pair in _named(_under(prefix, str(number)), one)
        ]
    if isinstance(value, Tensor):
        return [(prefix, value.detach().cpu().numpy())]
    if value is None:
        return [(prefix, None)]
    assert type(value) is int, f"{prefix}: a {type(value).__name__} is no state"
    return [(prefix, np.array([value], np.int64))]


def _built(prefix: str, empty: object, arrays: Mapping[str, np.ndarray]) -> object:
    if is_dataclass(empty) and not isinstance(empty, type):
        return replace(
            empty,
            **{
                field.name: _built(
                    _under(prefix, field.name), getattr(empty, field.name), arrays
                )
                for field in fields(empty)
            },
        )
    if isinstance(empty, tuple) and empty:
        return tuple(
            _built(_under(prefix, str(number)), one, arrays)
            for number, one in enumerate(empty)
        )
    return _value(prefix, empty, arrays)


def _value(prefix: str, empty: object, arrays: Mapping[str, np.ndarray]) -> object:
    """A tensor, a number, or a tuple that is empty before any sample."""
    array = arrays.get(prefix)
    if isinstance(empty, int):
        return empty if array is None else int(array[0])
    if not isinstance(empty, tuple):
        return empty if array is None else _tensor(array)
    if array is not None:
        return tuple(array.tolist())
    parts: list[Tensor] = []
    while (name := _under(prefix, str(len(parts)))) in arrays:
        parts.append(_tensor(arrays[name]))
    return tuple(parts)


def _tensor(array: np.ndarray) -> Tensor:
    """What was read may be a view that must not be written to; a state is."""
    return torch.from_numpy(np.require(array, requirements="W"))


def _under(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
