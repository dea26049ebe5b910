"""How is a result that holds arrays kept: its words as JSON, its arrays beside them?

`NAME.json` has everything but the arrays; where one belongs, it names the array of
`NAME.safetensors` that does.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from driftmap.core.errors import StoreError
from driftmap.results.plain import from_plain
from driftmap.store.codec import TensorFile, open_tensors, save_tensors
from driftmap.store.plain import load_json, save_json

ARRAY = "array"
"""The one key of what stands for an array."""

Result = TypeVar("Result")


def save_apart(folder: Path, name: str, value: object, kind: str) -> None:
    """Write a dataclass that holds arrays as `NAME.json` and `NAME.safetensors`.

    Args:
        folder: Where both files go.
        name: What they are called.
        value: A dataclass of plain values, arrays, and more of its like.
        kind: What the files are.

    Raises:
        StoreError: The value holds what no file can, or the disk refuses.
    """
    arrays: dict[str, np.ndarray] = {}
    words = _without_arrays(value, name, arrays)
    save_tensors(folder / f"{name}.safetensors", arrays, kind, {})
    save_json(folder / f"{name}.json", words, kind)


def load_apart(folder: Path, name: str, kind: type[Result], named: str) -> Result:
    """Read what `save_apart` wrote.

    Args:
        folder: Where both files are.
        name: What they are called.
        kind: The dataclass to build.
        named: The kind that the files name.

    Raises:
        StoreError: A file is missing, damaged, foreign, or of a newer version.
        DataError: A field is missing, unknown or of the wrong type.
    """
    file = folder / f"{name}.json"
    words = load_json(file, named)
    with open_tensors(folder / f"{name}.safetensors", named) as arrays:
        return from_plain(kind, _with_arrays(words, arrays), str(file))


def _without_arrays(value: object, place: str, arrays: dict[str, np.ndarray]) -> object:
    """The same with every array replaced by the name under which it is kept."""
    if isinstance(value, np.ndarray):
        arrays[place] = value
        return {ARRAY: place, "dtype": value.dtype.name, "axes": value.ndim}
    if is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return {
            key: _without_arrays(one, f"{place}.{key}", arrays)
            for key, one in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            _without_arrays(one, f"{place}[{number}]", arrays)
            for number, one in enumerate(value)
        ]
    return value


def _with_arrays(words: object, arrays: TensorFile) -> object:
    if isinstance(words, list):
        return [_with_arrays(one, arrays) for one in words]
    if not isinstance(words, dict):
        return words
    if ARRAY in words:
        return _array(words, arrays)
    return {key: _with_arrays(one, arrays) for key, one in words.items()}


def _array(words: dict[str, object], arrays: TensorFile) -> np.ndarray:
    name, dtype, axes = (words.get(key) for key in (ARRAY, "dtype", "axes"))
    if not (isinstance(name, str) and isinstance(dtype, str) and type(axes) is int):
        raise StoreError(
            f"{arrays.path.with_suffix('.json')}: names an array in a damaged way; "
            "make the files again"
        )
    return arrays.read(name, dtype, cast(int, axes))
