"""How are tensors of any number type read and written without a library that knows it?

The container is safetensors: a header of names, types, shapes and places, then the
bytes. numpy has no bfloat16, so bytes stay bytes here.
"""

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import cast

import numpy as np

from driftmap.core.errors import StoreError
from driftmap.results.expert_tuning import KeptTensor
from driftmap.store.files import writing

NUM_BYTES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
"""Bytes of one number, by the name of its type in the container."""

_ALIGNMENT = 8
_LARGEST_HEADER = 100 * 2**20  # what the format allows, in bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPlace:
    """Where one tensor lies in a file.

    Args:
        dtype: As the container spells it: `F32`, `BF16`, ...
        shape: Its axes.
        start: First byte in the file.
        num_bytes: How many bytes it takes.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int


def write_raw(
    path: Path, tensors: Mapping[str, KeptTensor], metadata: Mapping[str, str]
) -> None:
    """Write tensors by name, whole or not at all, the same bytes each time."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in sorted(tensors):
        kept = tensors[name]
        assert kept.values.size == prod(kept.shape) * NUM_BYTES[kept.dtype], name
        entries[name] = {
            "dtype": kept.dtype,
            "shape": list(kept.shape),
            "data_offsets": [end, end + kept.values.size],
        }
        end += kept.values.size
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    with writing(path) as temporary, temporary.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            file.write(np.ascontiguousarray(tensors[name].values).data)


def raw_places(path: Path) -> tuple[dict[str, RawPlace], dict[str, str]]:
    """Read where the tensors of a file lie, and its metadata.

    Raises:
        StoreError: The file is missing, is no safetensors file, or is cut short.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(_LARGEST_HEADER, size):
                raise ValueError("header longer than the file")
            header = json.loads(file.read(length))
        metadata = dict(header.pop("__metadata__", {}))
        places = {name: _place(entry, 8 + length) for name, entry in header.items()}
    except (FileNotFoundError, IsADirectoryError):
        raise StoreError(f"{path}: there is no such file; check the name") from None
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path}: is damaged or not safetensors ({error}); copy it again"
        ) from error
    for name, place in places.items():
        if place.num_bytes < 0 or place.start + place.num_bytes > size:
            raise StoreError(f"{path}: {name} is cut short; copy the file again")
    return places, metadata


def read_raw(path: Path, places: Mapping[str, RawPlace]) -> Iterator[KeptTensor]:
    """Read tensors of a file, one after the other."""
    with path.open("rb") as file:
        for place in places.values():
            file.seek(place.start)
            content = file.read(place.num_bytes)
            yield KeptTensor(
                dtype=place.dtype,
                shape=place.shape,
                values=np.frombuffer(content, dtype=np.uint8),
            )


def _place(entry: object, data_start: int) -> RawPlace:
    plain = cast(dict[str, object], entry)
    begin, end = cast(list[int], plain["data_offsets"])
    shape = tuple(int(size) for size in cast(list[int], plain["shape"]))
    dtype = str(plain["dtype"])
    if dtype in NUM_BYTES and end - begin != prod(shape) * NUM_BYTES[dtype]:
        raise ValueError("shapes and bytes differ")
    return RawPlace(
        dtype=dtype, shape=shape, start=data_start + begin, num_bytes=end - begin
    )
