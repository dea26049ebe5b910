"""How is a file of matrices written that all together do not fit into memory?

The bytes are those that `codec.save_tensors` writes, whatever the order in which the
matrices come: each has its place in the file from the start.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32

from driftmap.store.codec import METADATA
from driftmap.store.plain import VERSION, sorted_json

_ALIGNMENT = 8
_NUM_BYTES = 4

Write = Callable[[str, Float32[np.ndarray, "_ _"]], None]


@contextmanager
def streaming_tensors(
    path: Path,
    shapes: Mapping[str, tuple[int, int]],
    kind: str,
    header: Mapping[str, object],
) -> Iterator[Write]:
    """Open a file of float32 matrices to be written one at a time.

    The file grows in place: give a temporary name where it must be whole or not there.

    Args:
        path: File to write.
        shapes: Rows and columns of every matrix, by name.
        kind: What the file holds.
        header: What more it says of itself, plain values.

    Yields:
        Writes one matrix; each must come once, in any order.
    """
    offsets = _offsets(shapes)
    begin = _header(shapes, offsets, {"kind": kind, "version": VERSION, **header})
    missing = set(shapes)
    with path.open("wb") as file:
        file.write(begin)

        def write(name: str, matrix: Float32[np.ndarray, "_ _"]) -> None:
            assert matrix.shape == shapes[name], f"{name}: another shape"
            missing.remove(name)
            file.seek(len(begin) + offsets[name])
            _write_all(file, matrix)

        yield write
        assert not missing, f"{sorted(missing)[:3]}: never written"


def _write_all(file: BinaryIO, matrix: Float32[np.ndarray, "_ _"]) -> None:
    if matrix.size:
        file.write(np.ascontiguousarray(matrix, dtype="<f4").data)


def _offsets(shapes: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Where each matrix begins: they follow each other by name."""
    offsets: dict[str, int] = {}
    end = 0
    for name in sorted(shapes):
        offsets[name] = end
        end += _NUM_BYTES * prod(shapes[name])
    return offsets


def _header(
    shapes: Mapping[str, tuple[int, int]],
    offsets: Mapping[str, int],
    whole: Mapping[str, object],
) -> bytes:
    entries: dict[str, object] = {"__metadata__": {METADATA: sorted_json(whole)}}
    for name, begin in offsets.items():
        end = begin + _NUM_BYTES * prod(shapes[name])
        entries[name] = {
            "dtype": "F32",
            "shape": list(shapes[name]),
            "data_offsets": [begin, end],
        }
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text
