"""What does an adapter add, where the model it was made for is not at hand?

Its factors say it: `dW = scale * B @ A`, whatever the matrix is that it is added to.
Their shapes tell the shape of that matrix, and the paths its place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from driftmap.core.errors import ModelError
from driftmap.core.places import Part, Site
from driftmap.families.dense import FAMILIES, MIXTURES, PLAIN
from driftmap.families.spec import Fused
from driftmap.load.adapter_config import (
    AdapterConfig,
    must_be_lora,
    read_adapter_config,
)
from driftmap.load.adapters import PREFIX, read_adapter
from driftmap.load.tensor_files import StoredTensor, stored_tensors
from driftmap.signals.changes import DoraFactors
from driftmap.signals.factors import LoraFactors

_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_TABLE = ".lora_embedding_A", ".lora_embedding_B"
_LENGTHS = re.compile(r".+\.lora_magnitude_vector(\.weight)?")
_ENDS: dict[str, Part] = {
    "lm_head": "head", "embed_out": "head", "embed_tokens": "embed",
    "embed_in": "embed", "wte": "embed", "wpe": "embed", "word_embeddings": "embed",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModuleFactors:
    """What an adapter adds to one module.

    Args:
        path: The module's own path in the base model.
        layer: Number of its block, from 0; None outside the blocks.
        parts: What its rows are for, as far as its name tells: several for a fused map,
            empty where the name says nothing.
        change: Factors of `[out in]`, whichever way the model stores its matrix (GPT-2
            stores `[in out]`); of an embedding, of `[token hidden]`.
    """

    path: str
    layer: int | None
    parts: tuple[Part, ...]
    change: LoraFactors | DoraFactors

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of what is added."""
        factors = self.change
        if isinstance(factors, DoraFactors):
            factors = factors.factors
        return factors.up.shape[0], factors.down.shape[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FactorsAlone:
    """All that an adapter's file tells of its change without a base.

    Args:
        config: The adapter's.
        modules: What it adds to each module, by path.
        left_out: Stored names of what is no change by itself: modules saved as a whole,
            biases, and anything else that only a base makes sense of.
    """

    config: AdapterConfig
    modules: tuple[ModuleFactors, ...]
    left_out: tuple[str, ...]

    @property
    def changes(self) -> Mapping[str, LoraFactors | DoraFactors]:
        """By path of the module."""
        return {module.path: module.change for module in self.modules}


def read_factors_alone(folder: Path, reference: Path | None = None) -> FactorsAlone:
    """Read an adapter's factors without a model.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        reference: Folder of the same run's step-0 adapter, for starts that rewrite the
            base.

    Returns:
        The factors in float64, in the order of their paths, numbers as numbers.

    Raises:
        ModelError: The folder holds no adapter, a broken one, or one that is not plain
            LoRA or DoRA.
    """
    config = read_adapter_config(folder)
    must_be_lora(config)
    stored = {
        tensor.name.removeprefix(PREFIX): tensor for tensor in stored_tensors(folder)
    }
    sites = _sites(folder, stored)
    changes: dict[str, LoraFactors | DoraFactors] = {}
    if sites:
        adapter = read_adapter(folder, sites, reference=reference)
        changes |= {site.path: change for site, change in adapter.factors.items()}
    changes |= _tables(config, stored)
    if not changes:
        raise ModelError(
            f"{folder}: it holds no factors ({_first(stored)}), and what else it "
            "changes cannot be read without its base; give the base, too"
        )
    return FactorsAlone(
        config=config,
        modules=tuple(
            ModuleFactors(
                path=path,
                layer=layer_of(path),
                parts=parts_of(path),
                change=changes[path],
            )
            for path in sorted(changes, key=numbered)
        ),
        left_out=tuple(name for name in stored if not _is_read(name, changes)),
    )


def layer_of(path: str) -> int | None:
    """Number of the block that a module lies in, by its path alone.

    >>> layer_of("model.layers.11.mlp.down_proj"), layer_of("lm_head")
    (11, None)
    """
    numbers = re.findall(r"(?<=\.)\d+(?=\.)", path)
    return int(numbers[0]) if numbers else None


def parts_of(path: str) -> tuple[Part, ...]:
    """What the rows of a module are for, by its path alone; empty if it does not tell.

    >>> parts_of("transformer.h.0.attn.c_attn"), parts_of("h.0.mlp.c_proj")
    (('q', 'k', 'v'), ('down',))
    """
    last = path.rpartition(".")[2]
    for family in (PLAIN, *FAMILIES, *MIXTURES):
        found = family.maps.get(last)
        if found is not None:
            return found.parts if isinstance(found, Fused) else (found,)
    if last in _ENDS:
        return (_ENDS[last],)
    if last in ("c_proj", "out_proj", "dense"):
        return ("o",) if "att" in path else ("down",) if "mlp" in path else ()
    return ()


def numbered(path: str) -> tuple[tuple[bool, int, str], ...]:
    """Sort key of dotted paths that puts block 10 after block 9.

    >>> sorted(["h.10.a", "h.9.a", "h.9"], key=numbered)
    ['h.9', 'h.9.a', 'h.10.a']
    """
    return tuple(
        (not part.isdecimal(), int(part) if part.isdecimal() else 0, part)
        for part in path.split(".")
    )


def _sites(folder: Path, stored: Mapping[str, StoredTensor]) -> tuple[Site, ...]:
    """A matrix for every pair of factors: what it is for does not matter here."""
    paths = {
        name.removesuffix(end)
        for name in stored
        for end in (_DOWN, _UP)
        if name.endswith(end)
    }
    return tuple(_site(folder, stored, path) for path in sorted(paths, key=numbered))


def _site(folder: Path, stored: Mapping[str, StoredTensor], path: str) -> Site:
    down, up = stored.get(path + _DOWN), stored.get(path + _UP)
    if down is None or up is None or not (len(down.shape) == len(up.shape) == 2):
        found = [list(one.shape) if one else "nothing" for one in (down, up)]
        raise ModelError(
            f"{folder}: the factors of {path} are {found[0]} and {found[1]}, which are "
            "no two matrices; tune linear maps and embeddings alone, or save it again"
        )
    return Site(
        path=path,
        layer=layer_of(path) or 0,
        part="block",
        num_rows=up.shape[0],
        num_columns=down.shape[1],
    )


def _tables(
    config: AdapterConfig, stored: Mapping[str, StoredTensor]
) -> dict[str, LoraFactors | DoraFactors]:
    """Changes of embeddings, `[token hidden]`: PEFT adds `scale * (B @ A)^T`."""
    first, second = _TABLE
    found: dict[str, LoraFactors | DoraFactors] = {}
    for path in sorted({n.removesuffix(first) for n in stored if n.endswith(first)}):
        if path + second not in stored:
            raise ModelError(
                f"{config.folder}: {path} has only one of its two factors; save the "
                "adapter again"
            )
        left, right = _read(stored[path + first]), _read(stored[path + second])
        if left.shape[0] != right.shape[1] or left.shape[0] != config.rank(path):
            raise ModelError(
                f"{config.folder}: the factors of {path} are {list(left.shape)} and "
                f"{list(right.shape)}, with rank {config.rank(path)} in "
                "adapter_config.json; copy both from one run"
            )
        found[path] = LoraFactors(
            down=right.T.double(), up=left.T.double(), scale=config.scale(path)
        )
    return found


def _read(tensor: StoredTensor) -> Tensor:
    with safe_open(tensor.file, framework="pt") as opened:
        values: Tensor = opened.get_tensor(tensor.name)
    if not torch.isfinite(values).all():
        raise ModelError(
            f"{tensor.file}: {tensor.name} holds NaN or infinity; take an earlier "
            "checkpoint"
        )
    return values


def _is_read(name: str, changes: Mapping[str, object]) -> bool:
    for end in (_DOWN, _UP, *_TABLE):
        if name.endswith(end) and name.removesuffix(end) in changes:
            return True
    return _LENGTHS.fullmatch(name) is not None


def _first(stored: Mapping[str, StoredTensor]) -> str:
    return f"only {next(iter(stored))}" if stored else "nothing at all"
