"""How do the arrays of all shards become those of the whole?

Each file of a shard holds arrays of which some have the shard's samples along one axis.
These are put one after the other in the order of the samples; nothing is computed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from driftmap.core.errors import EngineError

BARE = "array"
"""Name of the one array of a `.npy` file."""


def join_arrays(
    shards: Sequence[Path], file: str, axes: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Join the arrays of one file over all shards.

    Args:
        shards: Folders of the shards, in the order of the samples, as `run_shards`
            returns them.
        file: Name of the file in each: `.npy`, with one array that is called `array`,
            or safetensors.
        axes: Which axis of which array holds the shard's samples; every other array
            must be the same in all shards.

    Returns:
        The arrays of the whole, by name.

    Raises:
        EngineError: A file cannot be read, or shards do not fit together.

    >>> import tempfile
    >>> folders = [Path(tempfile.mkdtemp()), Path(tempfile.mkdtemp())]
    >>> for number, folder in enumerate(folders):
    ...     np.save(folder / "dot.npy", np.full((2, 1), number))
    >>> join_arrays(folders, "dot.npy", {"array": 1})["array"].tolist()
    [[0, 1], [0, 1]]
    """
    assert shards, "there is at least one shard"
    read = [_read(folder / file) for folder in shards]
    for folder, arrays in zip(shards, read, strict=True):
        if arrays.keys() != read[0].keys() or not axes.keys() <= arrays.keys():
            odd = sorted(
                (arrays.keys() ^ read[0].keys()) | (axes.keys() - arrays.keys())
            )
            raise EngineError(
                f"{folder / file}: {odd[0]} is not in every shard; remove the shards "
                "and repeat the command"
            )
    return {
        name: _joined(shards, file, name, [one[name] for one in read], axes.get(name))
        for name in read[0]
    }


def _joined(
    shards: Sequence[Path],
    file: str,
    name: str,
    arrays: Sequence[np.ndarray],
    axis: int | None,
) -> np.ndarray:
    first = arrays[0]
    for folder, array in zip(shards, arrays, strict=True):
        fits = array.dtype == first.dtype and _but(array, axis) == _but(first, axis)
        same = axis is not None or (fits and array.tobytes() == first.tobytes())
        if not (fits and same):
            raise EngineError(
                f"{folder / file}: {name} does not fit to that of {shards[0] / file}; "
                "remove the shards and repeat the command"
            )
    return first if axis is None else np.concatenate(arrays, axis=axis)


def _but(array: np.ndarray, axis: int | None) -> tuple[int, ...]:
    """Sizes of all axes but one."""
    sizes = list(array.shape)
    if axis is not None and axis < array.ndim:
        sizes[axis] = -1
    return tuple(sizes)


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        if path.suffix == ".npy":
            return {BARE: np.load(path, allow_pickle=False)}
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        raise EngineError(
            f"{path}: cannot be read ({error}); remove the shard and repeat the command"
        ) from error
