"""Do a model's weights fit into the memory they are loaded into?

Known from the headers of its files alone, so that nothing is loaded in vain.
"""

from pathlib import Path

import torch

from driftmap.core.errors import ModelError
from driftmap.core.room import free_memory, free_swap
from driftmap.core.units import format_bytes
from driftmap.load.source import ModelSource
from driftmap.load.tensor_files import StoredTensor, stored_tensors

_FLOATS = ("F64", "F32", "F16", "BF16")


def require_fit(folder: Path, source: ModelSource, device: torch.device) -> None:
    """Refuse a model that is larger than what is free where it goes.

    Args:
        folder: Where its files lie.
        source: In which number type, and how it is spread.
        device: Where it goes, unless it is spread.

    Raises:
        ModelError: There is too little memory.
    """
    dtype: torch.dtype = getattr(torch, source.dtype)
    need = loaded_bytes(folder, dtype)
    free, kind = free_memory() + free_swap(), "memory"
    if source.device_map is not None and torch.cuda.is_available():
        free += sum(_free_on(n) for n in range(torch.cuda.device_count()))
        kind = "memory of GPUs and machine together"
    elif device.type == "cuda":
        free, kind = _free_on(device), "GPU memory"
    if need > free:
        raise no_room(
            source,
            f"its weights need {format_bytes(need)} in {source.dtype} and "
            f"{format_bytes(free)} of {kind} are free",
        )


def no_room(source: ModelSource, what: str) -> ModelError:
    """Say what lowers the need of a model that does not fit."""
    remedies = []
    if source.dtype == "float32":
        remedies.append("use --dtype bfloat16, which takes half")
    if source.device_map is None and torch.cuda.device_count() > 1:
        remedies.append("spread it over the GPUs with --device-map auto")
    remedies.append("choose a smaller model or a machine with more memory")
    return ModelError(
        f"{source.model}: {what}; {', or '.join(remedies)}", topic="memory"
    )


def loaded_bytes(folder: Path, dtype: torch.dtype) -> int:
    """Bytes of all weights of a folder once they are in a number type."""
    return sum(_loaded_bytes(tensor, dtype) for tensor in stored_tensors(folder))


def _loaded_bytes(tensor: StoredTensor, dtype: torch.dtype) -> int:
    if tensor.dtype not in _FLOATS:
        return tensor.num_bytes
    count = 1
    for size in tensor.shape:
        count *= size
    return count * dtype.itemsize


def _free_on(device: torch.device | int) -> int:
    """Free memory of a GPU, with what torch has reserved there and does not use."""
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserved
