"""How are directions kept so that llama.cpp steers by them?

The GGUF layout of control vectors: `general.architecture` is `controlvector`,
`controlvector.model_hint` names the family, and a float32 tensor `direction.L` is what
is added to the output of block L at strength 1. Block 0 has no place in the layout.
A direction's length is the spread of scores along it, so that strength 1 is one spread.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

from driftmap.core.errors import StoreError
from driftmap.core.progress import say
from driftmap.results.honesty import ReadingVector
from driftmap.store.files import writing

if TYPE_CHECKING:
    from gguf import GGUFReader

ARCHITECTURE = "controlvector"
_HINT = "controlvector.model_hint"
_COUNT = "controlvector.layer_count"
_PREFIX = "direction."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ControlVector:
    """Directions as they stand in a file.

    Args:
        family: What the file says it is for; empty where it says nothing.
        layers: Blocks, in order.
        step: What is added to the output of each at strength 1.
    """

    family: str
    layers: tuple[int, ...]
    step: Float32[np.ndarray, "layer width"]


def save_control_vector(path: Path, vector: ReadingVector, family: str) -> None:
    """Write directions in the layout that llama.cpp reads.

    Args:
        path: File to write, whole or not at all.
        vector: One direction per layer; block 0 is left out, and that is said.
        family: The model type, as in its config.

    Raises:
        StoreError: `gguf` is not installed, or block 0 is the only one.
    """
    kept = [place for place, layer in enumerate(vector.layers) if layer > 0]
    if not kept:
        raise StoreError(
            f"{path}: the layout has no place for block 0; read a later one"
        )
    if len(kept) < len(vector.layers):
        say(f"{path.name}: block 0 has no place in the layout and is left out")
    gguf = _library(path)
    with writing(path) as temporary:
        writer = gguf.GGUFWriter(temporary, ARCHITECTURE)
        writer.add_string(_HINT, family)
        writer.add_uint32(_COUNT, len(kept))
        for place in kept:
            step = vector.direction[place] * vector.pooled_sd[place]
            writer.add_tensor(
                f"{_PREFIX}{vector.layers[place]}", step.astype(np.float32)
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def load_control_vector(path: Path) -> ControlVector:
    """Read what llama.cpp, repeng or `save_control_vector` wrote.

    Args:
        path: A GGUF file.

    Raises:
        StoreError: It is missing, damaged or no control vector, or `gguf` is not
            installed.
    """
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file; check the name")
    gguf = _library(path)
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OverflowError, OSError) as error:
        raise StoreError(f"{path}: is damaged or not GGUF ({error})") from error
    found = _text(reader, "general.architecture")
    if found != ARCHITECTURE:
        raise StoreError(
            f"{path}: holds {found or 'an unnamed model'}, not a control vector; name "
            "the right file"
        )
    steps = {
        _layer(path, tensor.name): np.array(tensor.data, np.float32)
        for tensor in reader.tensors
    }
    if not steps or len({step.shape for step in steps.values()}) > 1:
        raise StoreError(
            f"{path}: its directions are missing or of several widths; make it again"
        )
    layers = tuple(sorted(steps))
    return ControlVector(
        family=_text(reader, _HINT),
        layers=layers,
        step=np.stack([steps[layer] for layer in layers]),
    )


def _layer(path: Path, name: str) -> int:
    number = name.removeprefix(_PREFIX)
    if not name.startswith(_PREFIX) or not number.isdecimal() or int(number) < 1:
        raise StoreError(
            f"{path}: its tensor {name!r} is no direction of a block from 1 on; make "
            "it again"
        )
    return int(number)


def _text(reader: "GGUFReader", key: str) -> str:
    field = reader.get_field(key)
    return "" if field is None else str(field.contents())


def _library(path: Path):  # noqa: ANN202 - the type is the module itself
    try:
        import gguf
    except ImportError:
        raise StoreError(
            f"{path}: control vectors need the package gguf; install it with "
            "`pip install driftmap[gguf]`"
        ) from None
    return gguf
