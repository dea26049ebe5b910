"""How far did tensors move that are no matrix of a block: embeddings, norms, biases?

A checkpoint of full fine-tuning holds them; an adapter holds modules that were saved
whole, biases, rows of single tokens, and factors of embeddings and of the head.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import torch
from jaxtyping import Float, Float64
from safetensors import safe_open
from torch import Tensor

from driftmap.core.errors import DataError
from driftmap.core.places import Part, Site
from driftmap.families.tensor_names import place_of_name
from driftmap.load.adapter_config import AdapterConfig, read_adapter_config
from driftmap.load.adapters import PREFIX
from driftmap.load.full_changes import StoredMatrices
from driftmap.load.other_parts import other_parts, tensor_or_tied
from driftmap.load.tensor_files import StoredTensor, stored_tensors
from driftmap.results.weight_changes import OtherTensor

_OWN = re.compile(
    r"(?P<path>.+?)\.(?P<end>lora_embedding_[AB]|lora_[AB]\.weight|lora_B\.bias"
    r"|lora_magnitude_vector(?:\.weight)?|trainable_tokens_delta|token_adapter\..+)"
)
_SIDES = (
    ("lora_A.weight", "lora_B.weight"),
    ("lora_embedding_A", "lora_embedding_B"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sizes:
    """What two states of a tensor come to; None where there is nothing to subtract."""

    num_weights: int
    length: float | None
    size: float | None


def other_changes(
    before: StoredMatrices, after: StoredMatrices, sites: Sequence[Site]
) -> tuple[OtherTensor, ...]:
    """Measure what else full fine-tuning changed, in name order.

    Args:
        before: The model before training.
        after: A checkpoint of full fine-tuning.
        sites: All matrices of the blocks.
    """
    found = []
    for part in other_parts(before, after, sites):
        old = tensor_or_tied(before, part.name)
        new = tensor_or_tied(after, part.name)
        sizes = _Sizes(num_weights=0, length=None, size=None)
        if old is not None and new is not None and part.found != "missing":
            sizes = _sizes(_read(old), _read(new))
        found.append(_tensor(part.name, part.found, sizes))
    return tuple(found)


def adapter_changes(
    before: StoredMatrices, folder: Path, names: Sequence[str]
) -> tuple[OtherTensor, ...]:
    """Measure what an adapter changes beside the matrices of the blocks.

    Args:
        before: The model before training.
        folder: The adapter.
        names: Stored names that are no factors of such a matrix, as `read_adapter`
            gives them.

    Returns:
        What differs, in name order. Of DoRA outside the blocks it is not known how
        far it moved.
    """
    config = read_adapter_config(folder)
    stored = {t.name.removeprefix(PREFIX): t for t in stored_tensors(folder)}
    held = sorted(names, key=_whose)
    found = []
    for path, own in groupby(held, key=_whose):
        tensors = {name.removeprefix(f"{path}."): stored[name] for name in own}
        found += list(_of_module(before, config, path, tensors))
    return tuple(sorted(found, key=lambda one: one.name))


def part_of(name: str) -> tuple[Part, int | None]:
    """What a tensor does and in which block, by its name; `block` if it does not tell.

    >>> part_of("model.layers.3.input_layernorm.weight"), part_of("odd")
    (('norm', 3), ('block', None))
    """
    if name.endswith(".bias"):
        return "bias", _layer(name)
    try:
        return place_of_name(name).part, _layer(name)
    except DataError:
        return "block", _layer(name)


def _layer(name: str) -> int | None:
    try:
        return place_of_name(name).layer
    except DataError:
        return None


def _whose(name: str) -> str:
    found = _OWN.fullmatch(name)
    return found["path"] if found else name.rpartition(".")[0]


def _of_module(
    before: StoredMatrices,
    config: AdapterConfig,
    path: str,
    tensors: Mapping[str, StoredTensor],
) -> Iterator[OtherTensor]:
    """Each tensor of one module that an adapter changes."""
    for end in ("weight", "bias"):
        if end in tensors:
            # PEFT saves a head or embedding beside its factors: mostly the base's own.
            own = path.removesuffix(".base_layer")
            yield from _replaced(before, f"{own}.{end}", _read(tensors[end]))
    base = _stored(before, f"{path}.weight")
    for down, up in _SIDES:
        if down in tensors and up in tensors:
            moved = _length(_read(tensors[down]), _read(tensors[up]))
            exact = not any("magnitude" in end for end in tensors)
            if moved or not exact:
                yield _tensor(
                    f"{path}.weight",
                    "changed",
                    _Sizes(
                        num_weights=0 if base is None else _count(base),
                        length=moved * config.scale(path) if exact else None,
                        size=None if base is None else _norm(_read(base)),
                    ),
                )
    if "lora_B.bias" in tensors:
        added = _read(tensors["lora_B.bias"]) * config.scale(path)
        yield from _added(f"{path}.bias", added, _stored(before, f"{path}.bias"))
    rows = next((t for end, t in tensors.items() if "trainable_tokens" in end), None)
    if rows is not None:
        yield from _tokens(config, f"{path}.weight", _read(rows), base)


def _replaced(
    before: StoredMatrices, name: str, new: Float[Tensor, "..."]
) -> Iterator[OtherTensor]:
    old = _stored(before, name)
    if old is None or len(old.shape) != new.ndim or old.shape[1:] != new.shape[1:]:
        nothing = _Sizes(num_weights=0, length=None, size=None)
        yield _tensor(name, "missing", nothing)
        return
    sizes = _sizes(_read(old), new.double())
    if tuple(old.shape) != tuple(new.shape):
        yield _tensor(name, "resized", sizes)
    elif sizes.length:
        yield _tensor(name, "changed", sizes)


def _added(
    name: str, added: Float64[Tensor, "..."], old: StoredTensor | None
) -> Iterator[OtherTensor]:
    if added.any():
        size = 0.0 if old is None else _norm(_read(old))
        sizes = _Sizes(num_weights=added.numel(), length=_norm(added), size=size)
        yield _tensor(name, "changed", sizes)


def _tokens(
    config: AdapterConfig,
    name: str,
    rows: Float64[Tensor, "token hidden"],
    base: StoredTensor | None,
) -> Iterator[OtherTensor]:
    """Rows of single tokens, which PEFT keeps as they are after training."""
    given = config.settings.get("trainable_token_indices")
    if isinstance(given, dict):
        given = next((v for k, v in given.items() if f"{k}." in f"{name}."), None)
    known = isinstance(given, list) and len(given) == len(rows) and base is not None
    if not known:
        nothing = _Sizes(num_weights=rows.numel(), length=None, size=None)
        yield _tensor(name, "changed", nothing)
        return
    assert isinstance(given, list)
    assert base is not None
    whole = _read(base)
    moved = _norm(rows - whole[torch.tensor([int(token) for token in given])])
    if moved:
        sizes = _Sizes(num_weights=whole.numel(), length=moved, size=_norm(whole))
        yield _tensor(name, "changed", sizes)


def _stored(before: StoredMatrices, name: str) -> StoredTensor | None:
    return tensor_or_tied(before, name) or before.alike(name)


def _tensor(name: str, found: str, sizes: _Sizes) -> OtherTensor:
    part, layer = part_of(name)
    assert found in ("changed", "resized", "missing")
    return OtherTensor(
        name=name,
        part=part,
        layer=layer,
        found=found,
        num_weights=sizes.num_weights,
        length=sizes.length,
        size=sizes.size,
    )


def _sizes(old: Float64[Tensor, "..."], new: Float64[Tensor, "..."]) -> _Sizes:
    """Over the rows that both have."""
    if old.ndim:
        num_rows = min(len(old), len(new))
        old, new = old[:num_rows], new[:num_rows]
    return _Sizes(
        num_weights=old.numel(), length=_norm(new.double() - old), size=_norm(old)
    )


def _length(down: Float64[Tensor, "..."], up: Float64[Tensor, "..."]) -> float:
    """`|B A|` from the triangles of both factors."""
    over_rows = torch.linalg.qr(up, mode="r").R
    over_columns = torch.linalg.qr(down.T, mode="r").R
    return _norm(over_rows @ over_columns.T)


def _norm(values: Float64[Tensor, "..."]) -> float:
    return float(torch.linalg.vector_norm(values))


def _count(stored: StoredTensor) -> int:
    return torch.Size(stored.shape).numel()


def _read(stored: StoredTensor) -> Float64[Tensor, "..."]:
    with safe_open(stored.file, framework="pt") as opened:
        return opened.get_tensor(stored.name).double()
