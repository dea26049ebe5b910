"""How do arrays share a file with a header that says what they are?

The container is safetensors. All that is not an array stands in one metadata
key as sorted JSON: with several keys the library writes them in random order and
the bytes would differ between runs.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from driftmap.core.errors import StoreError
from driftmap.core.places import PARTS, RowBlocks, Site
from driftmap.store.files import writing
from driftmap.store.plain import VERSION, check_format, sorted_json

METADATA = "driftmap"
"""The one metadata key."""


class TensorFile:
    """An open file of arrays: its header is read, its arrays wait."""

    def __init__(
        self, path: Path, content: safe_open, header: dict[str, object]
    ) -> None:
        """Use `open_tensors`."""
        self.path = path
        self.header = header
        self._content = content
        self._names = frozenset(content.keys())

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def read(self, name: str, dtype: str, num_axes: int) -> np.ndarray:
        """Read one array.

        Raises:
            StoreError: It is missing or of another type than the format says.
        """
        if name not in self._names:
            raise StoreError(f"{self.path}: {name} is missing; write the file again")
        try:
            array = cast(np.ndarray, self._content.get_tensor(name))
        except (SafetensorError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self.path}: {name} cannot be read ({error}); write the file again"
            ) from error
        if array.dtype.name != dtype or array.ndim != num_axes:
            raise StoreError(
                f"{self.path}: {name} is {array.dtype} with {array.ndim} axes, "
                f"not {dtype} with {num_axes}; write the file again"
            )
        return array


def save_tensors(
    path: Path,
    arrays: Mapping[str, np.ndarray],
    kind: str,
    header: Mapping[str, object],
) -> None:
    """Write arrays and their header, whole or not at all, the same bytes each time."""
    whole = sorted_json({"kind": kind, "version": VERSION, **header})
    contiguous = {name: np.ascontiguousarray(a) for name, a in arrays.items()}
    with writing(path) as temporary:
        save_file(contiguous, temporary, metadata={METADATA: whole})


@contextmanager
def open_tensors(path: Path, kind: str) -> Iterator[TensorFile]:
    """Open a file of one kind for as long as the block runs.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    try:
        content = safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file; check the name") from None
    except (SafetensorError, OSError) as error:
        raise StoreError(
            f"{path}: is damaged or not safetensors ({error}); write it again"
        ) from error
    with content:
        yield TensorFile(path, content, _header(path, content, kind))


def site_to_plain(site: Site) -> dict[str, object]:
    """Turn a place into what a header holds."""
    split = site.split
    # Only routers and experts say so; files of other matrices stay as they were.
    own = {"tensor": site.tensor} if site.tensor is not None else {}
    number = {"expert": site.expert} if site.expert is not None else {}
    return {
        "path": site.path,
        "layer": site.layer,
        "part": site.part,
        "shape": [site.num_rows, site.num_columns],
        "split": None
        if split is None
        else {
            "start": split.start,
            "length": split.length,
            "stride": split.stride,
            "count": split.count,
        },
        "transposed": site.transposed,
        "head_size": site.head_size,
        **own,
        **number,
    }


def sites_of(file: TensorFile) -> tuple[Site, ...]:
    """Read the places a header lists.

    Raises:
        StoreError: The list is damaged.
    """
    try:
        listed = cast(list[dict], file.header["sites"])
        sites = tuple(_site(plain) for plain in listed)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{file.path}: its list of matrices is damaged; write the file again"
        ) from error
    return sites


def require_distinct(keys: list[str]) -> None:
    """Two matrices never share a name in a file."""
    assert len(set(keys)) == len(keys), "two matrices have the same key"


def _site(plain: dict) -> Site:
    num_rows, num_columns = plain["shape"]
    split = plain["split"]
    heads, expert, tensor = (
        plain["head_size"],
        plain.get("expert"),
        plain.get("tensor"),
    )
    numbers = [plain["layer"], num_rows, num_columns, *(split or {}).values()]
    numbers += [number for number in (heads, expert) if number is not None]
    names = [plain["path"], "" if tensor is None else tensor]
    if {*map(type, names)} != {str} or {*map(type, numbers)} != {int}:
        raise TypeError(plain)
    if plain["part"] not in PARTS or min(num_rows, num_columns) < 1:
        raise ValueError(plain)
    return Site(
        path=plain["path"],
        layer=plain["layer"],
        part=plain["part"],
        num_rows=num_rows,
        num_columns=num_columns,
        split=None if split is None else RowBlocks(**split),
        transposed=bool(plain["transposed"]),
        head_size=heads,
        expert=expert,
        tensor=tensor,
    )


def _header(path: Path, content: safe_open, kind: str) -> dict[str, object]:
    text = (content.metadata() or {}).get(METADATA, "{}")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{path}: its header is damaged; write it again") from error
    if not isinstance(header, dict):
        raise StoreError(f"{path}: its header is damaged; write it again")
    check_format(path, header, kind)
    return header
