"""How are the products of pairs kept, larger than memory as they may be?

One safetensors file: the products of all pairs (`dot`), the energies of both sides,
who was compared with whom, and which original is behind each query. `dot` is written
query by query and read as a map of the file, so that looking at one tensor costs no
more than that.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from driftmap.core.errors import DataError, StoreError
from driftmap.core.places import TensorPlace
from driftmap.results.pair_products import NONE, PairProducts, Truth
from driftmap.results.plain import from_plain, to_plain
from driftmap.store.codec import METADATA, TensorFile, open_tensors
from driftmap.store.files import writing
from driftmap.store.plain import VERSION, sorted_json

PAIRS_KIND = "driftmap.pairs"

_KEPT = {
    "candidates": ("int64", 2),
    "truth_original": ("int64", 1),
    "truth_same": ("int64", 1),
    "query_energy": ("float64", 2),
    "original_energy": ("float64", 2),
}
"""Type and number of axes of all arrays but `dot`."""
_TYPES = {"float64": "F64", "int64": "I64"}
_ROOM = 1 << 24
"""Numbers of `dot` in memory at a time while it is written (count)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """Products of pairs, and what is known of which belong together.

    Args:
        products: D, A and B.
        truth: Which original is behind each query.
    """

    products: PairProducts
    truth: Truth


def save_pairs(path: Path, products: PairProducts, truth: Truth) -> None:
    """Write products and truth, whole or not at all, the same bytes each time.

    Args:
        path: File to write.
        products: Its `dot` may lie on disk: it is read a few queries at a time.
        truth: Of the same queries and originals.

    Raises:
        StoreError: The disk refuses.
    """
    arrays = _arrays(products, truth)
    header = {
        "kind": PAIRS_KIND,
        "version": VERSION,
        "queries": list(products.queries),
        "originals": list(products.originals),
        "tensors": to_plain(products.tensors),
        "sets": list(truth.sets),
        "provenance": dict(products.provenance),
    }
    with writing(path) as temporary, temporary.open("wb") as file:
        file.write(_header(arrays, header))
        for array in arrays.values():
            _write(file, array)


def load_pairs(path: Path) -> Pairs:
    """Read what `save_pairs` wrote; `dot` stays on disk until it is looked at.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    with open_tensors(path, PAIRS_KIND) as file:
        queries, originals, sets = (
            _texts(file, name) for name in ("queries", "originals", "sets")
        )
        tensors = _places(file)
        provenance = file.header.get("provenance")
        if not isinstance(provenance, Mapping):
            raise _damaged(path, "its provenance")
        arrays = {
            name: file.read(name, dtype, num_axes)
            for name, (dtype, num_axes) in _KEPT.items()
        }
        num_candidates = arrays["candidates"].shape[1]
        dot = _mapped(path, (len(queries), num_candidates, len(tensors)))
    if len(sets) != len(queries):
        raise _damaged(path, "its list of sets")
    if fault := _fault(arrays, len(queries), len(originals), len(tensors)):
        raise _damaged(path, fault)
    return Pairs(
        products=PairProducts(
            queries=queries,
            originals=originals,
            candidates=arrays["candidates"],
            tensors=tensors,
            dot=dot,
            query_energy=arrays["query_energy"],
            original_energy=arrays["original_energy"],
            provenance=cast(Mapping[str, str], provenance),
        ),
        truth=Truth(
            original=arrays["truth_original"], same=arrays["truth_same"], sets=sets
        ),
    )


def _arrays(products: PairProducts, truth: Truth) -> dict[str, np.ndarray]:
    """Arrays by name, in the order of the file: floats first, as the format has it."""
    return {
        "dot": products.dot,
        "original_energy": products.original_energy,
        "query_energy": products.query_energy,
        "candidates": products.candidates,
        "truth_original": truth.original,
        "truth_same": truth.same,
    }


def _header(arrays: Mapping[str, np.ndarray], whole: Mapping[str, object]) -> bytes:
    entries: dict[str, object] = {"__metadata__": {METADATA: sorted_json(whole)}}
    begin = 0
    for name, array in arrays.items():
        end = begin + 8 * array.size
        entries[name] = {
            "dtype": _TYPES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
        begin = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _write(file: BinaryIO, array: np.ndarray) -> None:
    rows = max(1, _ROOM // max(1, prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        part = array[start : start + rows]
        if part.size:
            file.write(part.astype(part.dtype.newbyteorder("<")).tobytes())


def _mapped(path: Path, sizes: tuple[int, int, int]) -> np.ndarray:
    """The products, on disk."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length)).get("dot", {})
    if entry.get("dtype") != "F64" or tuple(entry.get("shape", ())) != sizes:
        raise _damaged(path, f"`dot` is not float64 of {list(sizes)}, it")
    if not prod(sizes):
        return np.empty(sizes)
    start = 8 + length + entry["data_offsets"][0]
    return np.memmap(path, dtype="<f8", mode="r", offset=start, shape=sizes)


def _places(file: TensorFile) -> tuple[TensorPlace, ...]:
    listed = file.header.get("tensors")
    try:
        return tuple(from_plain(TensorPlace, p) for p in cast(list[object], listed))
    except (DataError, TypeError) as error:
        raise _damaged(file.path, "its list of tensors") from error


def _texts(file: TensorFile, name: str) -> tuple[str, ...]:
    listed = file.header.get(name)
    if not isinstance(listed, list) or not all(isinstance(t, str) for t in listed):
        raise _damaged(file.path, f"its list of {name}")
    return tuple(cast(list[str], listed))


def _fault(
    arrays: Mapping[str, np.ndarray], queries: int, originals: int, tensors: int
) -> str:
    """What in the file does not fit together; empty where all does."""
    wanted = {
        "candidates": (queries, arrays["candidates"].shape[1]),
        "truth_original": (queries,),
        "truth_same": (originals,),
        "query_energy": (queries, tensors),
        "original_energy": (originals, tensors),
    }
    for name, shape in wanted.items():
        if arrays[name].shape != shape:
            return f"`{name}`"
    if not _inside(arrays["candidates"], NONE, originals):
        return "`candidates`"
    return "" if _inside(arrays["truth_original"], 0, originals) else "`truth_original`"


def _inside(numbers: np.ndarray, low: int, stop: int) -> bool:
    return bool(((numbers >= low) & (numbers < stop)).all())


def _damaged(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: {what} is damaged; measure the pairs again")
