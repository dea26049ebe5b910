"""How is what a measure has added up over some samples kept until others join it?"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np

from driftmap.core.errors import StoreError
from driftmap.store.codec import TensorFile, open_tensors, save_tensors

_KIND = "driftmap.sums"
_BETWEEN = "|"

Sums = Mapping[str, np.ndarray]
"""Arrays of one state, by the names of its fields."""


class SumsFile:
    """An open file of sums."""

    def __init__(self, file: TensorFile, told: Mapping[str, Mapping]) -> None:
        """Use `open_sums`."""
        self._file = file
        self._told = told

    @property
    def keys(self) -> tuple[str, ...]:
        """Whose sums it holds."""
        return tuple(self._told)

    def at(self, key: str) -> dict[str, np.ndarray]:
        """Read one state.

        Raises:
            StoreError: The file is damaged.
        """
        return {
            name: self._file.read(f"{key}{_BETWEEN}{name}", dtype, num_axes)
            for name, (dtype, num_axes) in self._told[key].items()
        }


def save_sums(path: Path, sums: Mapping[str, Sums]) -> None:
    """Write states, whole or not at all, the same bytes each time."""
    told = {
        key: {name: [array.dtype.name, array.ndim] for name, array in of_key.items()}
        for key, of_key in sums.items()
    }
    arrays = {
        f"{key}{_BETWEEN}{name}": array
        for key, of_key in sums.items()
        for name, array in of_key.items()
    }
    save_tensors(path, arrays, _KIND, {"sums": told})


@contextmanager
def open_sums(path: Path) -> Iterator[SumsFile]:
    """Open a file of sums for as long as the block runs.

    Raises:
        StoreError: It is missing, damaged, foreign, or of a newer version.
    """
    with open_tensors(path, _KIND) as file:
        told = file.header.get("sums")
        if not isinstance(told, dict):
            raise StoreError(f"{path}: its list of sums is damaged; write it again")
        yield SumsFile(file, cast(dict[str, Mapping], told))


def find_sums(folder: Path, prefix: str) -> dict[str, Path]:
    """Find which file of a folder holds whose sums."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob(f"{prefix}-*.safetensors")):
        with open_sums(path) as file:
            found |= dict.fromkeys(file.keys, path)
    return found
