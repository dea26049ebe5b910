"""What does an adapter's folder add to each weight matrix?

The factors are read from the file alone: no model is built and nothing is merged.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.load.adapter_config import (
    AdapterConfig,
    must_be_lora,
    read_adapter_config,
)
from driftmap.load.tensor_files import weight_files
from driftmap.signals.factors import LoraFactors, cut_to_site

PREFIX = "base_model.model."
_FACTOR = re.compile(r"(?P<path>.+)\.lora_(?P<side>[AB])\.weight")
_OTHER_PART = re.compile(
    r"(?!.*\.lora_).+\.(bias|weight|trainable_tokens_delta)"
    r"|.+\.(lora_B\.bias|lora_embedding_[AB]|lora_[AB]\.weight)"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """What one saved adapter adds to a model.

    Args:
        factors: Per tuned site, in the order the sites were given.
        base_name: Model that the adapter says it was made for; empty if it does not.
        peft_type: `LORA`.
        other_parts: Stored names of what else it changes: biases, embeddings, whole
            modules outside the sites.
    """

    factors: Mapping[Site, LoraFactors]
    base_name: str
    peft_type: str
    other_parts: tuple[str, ...]


@dataclass(slots=True)
class _Pair:
    """Factors of one module while they are being collected."""

    sides: dict[str, Tensor] = field(default_factory=dict)


def read_adapter(
    folder: Path, sites: Sequence[Site], *, reference: Path | None = None
) -> Adapter:
    """Read the factors of a saved LoRA adapter, cut to the sites of a model.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        sites: All scored matrices of the model; those the adapter leaves alone are
            absent from the result.
        reference: Folder of the same run's step-0 adapter. Needed only for starts that
            rewrite the base model (PiSSA and the like), whose factors are not a change
            by themselves: subtract the reference's.

    Returns:
        The factors in float64.

    Raises:
        ModelError: The folder holds no adapter, a broken one, one of another model, or
            one whose change is not scale * B @ A.
    """
    config = read_adapter_config(folder)
    must_be_lora(config)
    _must_start_from_zero(config, reference)
    pairs, other = _collect(folder, _tensors(folder), {site.path for site in sites})
    _must_fit(folder, pairs, other, sites)
    factors = {
        site: _factors(config, site, pairs[site.path])
        for site in sites
        if site.path in pairs
    }
    return Adapter(
        factors=factors,
        base_name=config.base_name,
        peft_type=config.peft_type,
        other_parts=tuple(other),
    )


def _must_start_from_zero(config: AdapterConfig, reference: Path | None) -> None:
    start = config.rewriting_start
    if start is None:
        return
    if reference is None:
        raise ModelError(
            f"{config.folder}: its start `{start}` rewrote the base model, so its "
            "factors are no change by themselves; keep the step-0 adapter, or convert "
            "on saving with `path_initial_model_for_weight_conversion`"
        )
    other = read_adapter_config(reference).rewriting_start
    if other != start:
        raise ModelError(
            f"{reference}: its start is `{other}` where {config.folder} has `{start}`; "
            "give the step-0 adapter of the same run"
        )


def _tensors(folder: Path) -> dict[str, Tensor]:
    (file,) = weight_files(folder)
    try:
        with safe_open(file, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in sorted(stored.keys())}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{file}: it is not a whole safetensors file; copy or save it again"
        ) from error


def _collect(
    folder: Path, tensors: Mapping[str, Tensor], paths: set[str]
) -> tuple[dict[str, _Pair], list[str]]:
    pairs: dict[str, _Pair] = {}
    other: list[str] = []
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        factor = _FACTOR.fullmatch(name)
        if factor is not None and factor["path"] in paths:
            pairs.setdefault(factor["path"], _Pair()).sides[factor["side"]] = tensor
        elif key == name or not _OTHER_PART.fullmatch(name):
            raise ModelError(
                f"{folder}: `{key}` is no tensor of a LoRA adapter that is known here; "
                "tune with plain LoRA"
            )
        elif name.removesuffix(".weight") in paths:
            raise ModelError(
                f"{folder}: it replaces the whole matrix `{name}` (modules_to_save), "
                "which has no factors; tune it with LoRA instead"
            )
        else:
            other.append(name)
    return pairs, other


def _must_fit(
    folder: Path,
    pairs: Mapping[str, _Pair],
    other: Sequence[str],
    sites: Sequence[Site],
) -> None:
    """Refuse an adapter that names blocks which this model does not have."""
    known = {_numberless(site.path) for site in sites}
    for name in other:
        factor = _FACTOR.fullmatch(name)
        if factor is not None and _numberless(factor["path"]) in known:
            raise _other_model(folder, f"it tunes {factor['path']}", sites)
    if not pairs:
        seen = other[0] if other else "nothing"
        raise _other_model(folder, f"it tunes no weight matrix (only {seen})", sites)
    for path, pair in pairs.items():
        if len(pair.sides) != 2:
            raise ModelError(
                f"{folder}: {path} has only one of lora_A and lora_B; save it again"
            )


def _factors(config: AdapterConfig, site: Site, pair: _Pair) -> LoraFactors:
    down, up = pair.sides["A"], pair.sides["B"]
    if down.ndim != 2 or up.ndim != 2 or down.shape[0] != up.shape[1]:
        raise ModelError(
            f"{config.folder}: the factors of {site.path} have shapes "
            f"{list(down.shape)} and {list(up.shape)}, which do not multiply; save the "
            "adapter again with all of its shards gathered"
        )
    rank = config.rank(site.path)
    if down.shape[0] != rank:
        raise ModelError(
            f"{config.folder}: {site.path} has rank {down.shape[0]} in the file and "
            f"{rank} in adapter_config.json; copy both from one run"
        )
    rows = site.split.rows() if site.split is not None else range(site.num_rows)
    fits = rows[-1] < up.shape[0] and (site.split is not None or len(up) == len(rows))
    if down.shape[1] != site.num_columns or not fits:
        found = f"its {site.path} is [{up.shape[0]} {down.shape[1]}]"
        raise _other_model(config.folder, found, [site])
    if not (down.isfinite().all() and up.isfinite().all()):
        raise ModelError(
            f"{config.folder}: the factors of {site.path} hold NaN or infinity; take "
            "an earlier checkpoint"
        )
    return cut_to_site(down, up, config.scale(site.path), site)


def _numberless(path: str) -> str:
    return re.sub(r"\d+", "#", path)


def _other_model(folder: Path, found: str, sites: Sequence[Site]) -> ModelError:
    last = sites[-1]
    return ModelError(
        f"{folder}: the adapter was made for another model: {found}, while this one "
        f"has {last.key} [{last.num_rows} {last.num_columns}]; "
        "give the adapter's own base"
    )
