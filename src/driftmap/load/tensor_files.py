"""Which tensors do a folder's safetensors files hold, without loading any?"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from driftmap.core.errors import ModelError

_LARGEST_HEADER = 100 * 2**20  # what the format allows, in bytes
_CHUNK = 2**22


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor as it lies in a file.

    Args:
        name: Its name in the checkpoint.
        dtype: As safetensors spells it: `F32`, `BF16`, ...
        shape: Its axes.
        file: Where it is.
        start: First byte in the file.
        num_bytes: How many bytes it takes.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    num_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """Its bytes, a few MiB at a time."""
        left = self.num_bytes
        with self.file.open("rb") as stream:
            stream.seek(self.start)
            while left:
                chunk = stream.read(min(left, _CHUNK))
                assert chunk, "the header was checked against the file's size"
                left -= len(chunk)
                yield chunk


def weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that make up a model or an adapter, in name order.

    Raises:
        ModelError: There are none, only pickles are there, or a shard is missing.
    """
    index = folder / "model.safetensors.index.json"
    for single in ("model.safetensors", "adapter_model.safetensors"):
        if not index.is_file() and (folder / single).is_file():
            return (folder / single,)
    if not index.is_file():
        raise _no_weights(folder)
    names = sorted(set(_weight_map(index).values()))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{folder}: {missing[0]} is missing ({len(missing)} of {len(names)} files "
            "are); copy or download the model again"
        )
    return tuple(folder / name for name in names)


def stored_tensors(folder: Path) -> tuple[StoredTensor, ...]:
    """All tensors of a folder, in name order.

    Raises:
        ModelError: A file is missing, broken or cut short, or two files hold a tensor
            of one name.
    """
    tensors = sorted(
        (tensor for file in weight_files(folder) for tensor in file_tensors(file)),
        key=lambda tensor: tensor.name,
    )
    for left, right in pairwise(tensors):
        if left.name == right.name:
            raise ModelError(
                f"{folder}: {left.name} is in both {left.file.name} and "
                f"{right.file.name}; remove the file that does not belong"
            )
    return tuple(tensors)


def file_tensors(file: Path) -> tuple[StoredTensor, ...]:
    """The tensors of one safetensors file, in file order.

    Raises:
        ModelError: The file is no safetensors file, or is cut short.
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > min(_LARGEST_HEADER, size):
                raise ValueError("header longer than the file")
            header = json.loads(stream.read(length))
        header.pop("__metadata__", None)
        tensors = tuple(
            _stored(name, entry, file, 8 + length) for name, entry in header.items()
        )
        if any(t.num_bytes < 0 or t.start + t.num_bytes > size for t in tensors):
            raise ValueError("tensors beyond the end")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{file}: it is not a whole safetensors file; copy or download it again"
        ) from error
    return tensors


def _stored(
    name: str, entry: dict[str, object], file: Path, data_start: int
) -> StoredTensor:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(shape, list) or not isinstance(offsets, list):
        raise TypeError(name)
    begin, end = offsets
    return StoredTensor(
        name=name,
        dtype=str(dtype),
        shape=tuple(shape),
        file=file,
        start=data_start + begin,
        num_bytes=end - begin,
    )


def _weight_map(index: Path) -> dict[str, str]:
    try:
        return dict(json.loads(index.read_text())["weight_map"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{index}: it is no index of safetensors files; copy the model again"
        ) from error


def _no_weights(folder: Path) -> ModelError:
    pickles = sorted({*folder.glob("*.bin"), *folder.glob("*.pt")})
    if pickles:
        return ModelError(
            f"{folder}: its weights are a pickle ({pickles[0].name}), which can run "
            "code when read; load it once where you trust it and save it again with "
            "`model.save_pretrained(folder)`, then load with use_safetensors=True"
        )
    return ModelError(
        f"{folder}: it holds no safetensors weights (model.safetensors); is it the "
        "folder of a trained model?"
    )
