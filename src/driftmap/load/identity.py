"""Which weights, exactly, are these?

A sha256 over names, dtypes, shapes and bytes of all tensors in name order: the same
however a checkpoint is cut into files, and another one for any changed bit.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from driftmap.core.progress import progress
from driftmap.load.tensor_files import stored_tensors

# Parts of config.json that say where and with what a model was saved, or in which
# type; what it computes does not depend on them.
_INCIDENTAL = {
    "_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache",
}  # fmt: skip
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def weights_sha256(weights: Path | nn.Module) -> str:
    """Hash the weights of a folder, or of a model in memory.

    A model in memory has the hash of the folder it would be saved to, where its
    tensors have the same names there; of tied tensors the first name counts.

    Args:
        weights: A folder with safetensors files (model or adapter), or a model.

    Returns:
        64 hexadecimal digits.

    Raises:
        ModelError: The folder lacks weights, or a file is broken.

    >>> weights_sha256(nn.Linear(1, 1)) == weights_sha256(nn.Linear(1, 2))
    False
    """
    if isinstance(weights, nn.Module):
        return _digest(_tensors_of(weights))
    tensors = stored_tensors(weights)
    total = sum(tensor.num_bytes for tensor in tensors)
    with progress(f"reading the weights of {weights.name}", total) as bar:
        return _digest(tensors, advance=bar.advance)


def config_sha256(folder: Path) -> str:
    """Hash what config.json says of the arithmetic: sizes, activations, positions.

    Args:
        folder: A model's folder, whose config.json can be read.

    Returns:
        64 hexadecimal digits; the same however the file is laid out, and whichever
        version saved it from which place.
    """
    settings = _lasting(json.loads((folder / "config.json").read_text("utf-8")))
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _lasting(value: object) -> object:
    if not isinstance(value, dict):
        return value
    kept = value.keys() - _INCIDENTAL
    return {name: _lasting(value[name]) for name in kept}


@runtime_checkable
class _Hashable(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def chunks(self) -> Iterator[bytes]: ...


class _Held:
    """A tensor in memory, with the face of a stored one."""

    def __init__(self, name: str, tensor: torch.Tensor) -> None:
        self.name = name
        self.dtype = _DTYPES.get(tensor.dtype, str(tensor.dtype))
        self.shape = tuple(tensor.shape)
        self._tensor = tensor

    def chunks(self) -> Iterator[bytes]:
        """All of its bytes at once."""
        flat = self._tensor.detach().cpu().contiguous().flatten()
        yield flat.view(torch.uint8).numpy().tobytes()


def _nowhere(steps: int) -> None:
    """Show no progress."""


def _digest(
    tensors: Iterable[_Hashable], advance: Callable[[int], None] = _nowhere
) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        head = json.dumps([tensor.name, tensor.dtype, list(tensor.shape)])
        digest.update(head.encode() + b"\n")
        for chunk in tensor.chunks():
            digest.update(chunk)
            advance(len(chunk))
    return digest.hexdigest()


def _tensors_of(model: nn.Module) -> list[_Held]:
    tied = getattr(model, "all_tied_weights_keys", None) or {}
    state = model.state_dict()
    kept = [name for name in sorted(state) if name not in tied]
    return [_Held(name, state[name]) for name in kept]
