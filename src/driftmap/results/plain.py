"""How does a result become what JSON can hold, and come back as it was?

Dataclasses turn into dictionaries by field name, tuples into lists, paths into
text. Numbers must be finite: JSON has no NaN, and NaN is never data.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from driftmap.core.errors import DataError, StoreError
from driftmap.core.quoted import quoted

Plain = None | bool | int | float | str | list[object] | dict[str, object]
"""What JSON gives; lists and dictionaries hold plain values again."""

Result = TypeVar("Result")


def to_plain(value: object, place: str = "") -> Plain:
    """Turn dataclasses, mappings, sequences, paths and scalars into plain values.

    Args:
        value: A result or settings.
        place: What it is called in an error.

    Raises:
        StoreError: A number is not finite, a key is no text, or a value is of
            another type; the message names its place.

    >>> from driftmap.results.statistics import Interval
    >>> half = Interval(estimate=0.5, low=0.4, high=0.6, level=0.95, num=9)
    >>> to_plain((half, None))
    [{'estimate': 0.5, 'low': 0.4, 'high': 0.6, 'level': 0.95, 'num': 9}, None]
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return _finite(value, place)
    if isinstance(value, os.PathLike):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        held = {field.name: getattr(value, field.name) for field in fields(value)}
        return to_plain(held, place)
    if isinstance(value, Mapping):
        return {
            _text(k, place): to_plain(v, _under(place, k)) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [to_plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
    raise StoreError(
        f"{place or 'value'}: a {type(value).__name__} cannot be kept in a file; "
        "turn it into text, numbers, lists or mappings first"
    )


def from_plain(kind: type[Result], plain: object, where: str = "result") -> Result:
    """Build a result of `kind` from what `to_plain` made of one.

    Args:
        kind: The dataclass to build.
        plain: Plain values, as JSON gives them, and arrays where `kind` has them.
        where: What it is called in an error.

    Raises:
        DataError: A field is missing, unknown or of the wrong type.

    >>> from driftmap.results.statistics import Caution
    >>> caution = Caution(name="few", sentence="Few.", value=2.0, is_blocking=True)
    >>> from_plain(Caution, to_plain(caution)) == caution
    True
    """
    if not isinstance(plain, dict):
        found = quoted(repr(plain))
        raise DataError(f"{where}: expected {kind.__name__}, found {found}")
    hints = get_type_hints(kind)
    if plain.keys() != hints.keys():
        odd = sorted(plain.keys() ^ hints.keys())
        raise DataError(
            f"{where}: fields {odd} of {kind.__name__} are missing or unknown; "
            "was the file written by another version?"
        )
    built = {n: _built(hints[n], plain[n], f"{where}.{n}") for n in hints}
    return kind(**built)


def _built(hint: object, plain: object, where: str) -> object:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (wanted,) = [kind for kind in inner if kind is not NoneType]
        return None if plain is None else _built(wanted, plain, where)
    if origin is Mapping and isinstance(plain, dict):
        return {k: _built(inner[1], v, f"{where}.{k}") for k, v in plain.items()}
    if origin is tuple and isinstance(plain, list):
        return tuple(_built(inner[0], v, f"{where}[{i}]") for i, v in enumerate(plain))
    if isinstance(hint, type) and is_dataclass(hint):
        return from_plain(hint, plain, where)
    if hint is float and type(plain) is int:
        return float(plain)
    if _is_of(hint, plain):
        return plain
    if isinstance(plain, np.ndarray):
        plain = f"{plain.dtype}{list(plain.shape)}"
    raise DataError(f"{where}: {plain!r} is not a {hint}")


def _is_of(hint: object, plain: object) -> bool:
    if get_origin(hint) is Literal:
        return plain in get_args(hint)
    if isinstance(plain, np.ndarray):
        return isinstance(hint, type) and isinstance(plain, hint)
    return type(plain) is hint


def _finite(number: float, place: str) -> float:
    if math.isfinite(number):
        return number
    raise StoreError(
        f"{place or 'value'}: {number} is not a number a file may hold; "
        "leave it out or write None"
    )


def _text(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise StoreError(f"{place or 'value'}: the key {key!r} is not text")
    return key


def _under(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
