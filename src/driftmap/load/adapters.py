"""What does an adapter's folder add to each weight matrix?

The factors are read from the file alone: no model is built and nothing is merged.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Float
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
from driftmap.signals.changes import DoraFactors, cut_magnitude
from driftmap.signals.factors import LoraFactors, cut_to_site

PREFIX = "base_model.model."
_FACTOR = re.compile(
    r"(?P<path>.+)\.lora_(?P<side>[AB]\.weight|magnitude_vector)(?:\.weight)?"
)
_SIDES = {"A.weight": "A", "B.weight": "B", "magnitude_vector": "magnitude"}
_OTHER_PART = re.compile(
    r"(?!.*\.lora_).+\.(bias|weight|trainable_tokens_delta)"
    r"|.+\.(lora_B\.bias|lora_embedding_[AB]|lora_[AB]\.weight|lora_magnitude_vector)"
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapter:
    """What one saved adapter adds to a model.

    Args:
        factors: Per site tuned by LoRA or DoRA, in the order the sites were given.
        whole: Matrices that it replaces as a whole (modules_to_save), after training,
            in the file's own type.
        base_name: Model that the adapter says it was made for; empty if it does not.
        peft_type: `LORA`.
        other_parts: Stored names of what else it changes: biases, embeddings, whole
            modules outside the sites.
    """

    factors: Mapping[Site, LoraFactors | DoraFactors]
    whole: Mapping[Site, Float[Tensor, "row column"]]
    base_name: str
    peft_type: str
    other_parts: tuple[str, ...]


@dataclass(slots=True)
class _Pair:
    """Factors of one module while they are being collected."""

    sides: dict[str, Tensor] = field(default_factory=dict)


@dataclass(slots=True)
class _Found:
    """What a file holds, by module path."""

    pairs: dict[str, _Pair] = field(default_factory=dict)
    whole: dict[str, Tensor] = field(default_factory=dict)
    other: list[str] = field(default_factory=list)


def read_adapter(
    folder: Path, sites: Sequence[Site], *, reference: Path | None = None
) -> Adapter:
    """Read the factors of a saved LoRA or DoRA adapter, cut to the sites of a model.

    Args:
        folder: Holds `adapter_config.json` and `adapter_model.safetensors`.
        sites: All scored matrices of the model; those the adapter leaves alone are
            absent from the result.
        reference: Folder of the same run's step-0 adapter. Needed for starts that
            rewrite the base model (PiSSA and the like), whose factors are not a change
            by themselves: subtract the reference's. For DoRA it tells which lengths
            the rows began with, rounding included.

    Returns:
        The factors in float64.

    Raises:
        ModelError: The folder holds no adapter, a broken one, one of another model, or
            one whose change is not known here.
    """
    config = read_adapter_config(folder)
    must_be_lora(config)
    _must_start_from_zero(config, reference)
    tensors = _tensors(folder)
    _refuse_experts(folder, tensors, sites)
    sites = tuple(site for site in sites if site.tensor is None)
    found = _collect(folder, tensors, {site.path for site in sites})
    _must_fit(config, found, sites)
    begun = _begun(config, reference, sites)
    return Adapter(
        factors={
            site: _change(config, site, found.pairs[site.path], begun.get(site))
            for site in sites
            if site.path in found.pairs
        },
        whole={
            site: _matrix(folder, site, found.whole[site.path])
            for site in sites
            if site.path in found.whole
        },
        base_name=config.base_name,
        peft_type=config.peft_type,
        other_parts=tuple(found.other),
    )


def _refuse_experts(
    folder: Path, names: Collection[str], sites: Sequence[Site]
) -> None:
    """Refuse an adapter that sits on a bank of experts or on a router."""
    for path in dict.fromkeys(site.path for site in sites if site.tensor is not None):
        if any(f".{path}." in f".{name}" for name in names):
            raise ModelError(
                f"{folder}: it tunes {path}, and it is not known what an adapter adds "
                "to a router or a bank of experts; merge it with `merge_and_unload` of "
                "peft and give the merged model"
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


def _collect(folder: Path, tensors: Mapping[str, Tensor], paths: set[str]) -> _Found:
    found = _Found()
    for key, tensor in tensors.items():
        name = key.removeprefix(PREFIX)
        factor = _FACTOR.fullmatch(name)
        if factor is not None and factor["path"] in paths:
            pair = found.pairs.setdefault(factor["path"], _Pair())
            pair.sides[_SIDES[factor["side"]]] = tensor
        elif key == name or not _OTHER_PART.fullmatch(name):
            raise ModelError(
                f"{folder}: `{key}` is no tensor of a LoRA adapter that is known here; "
                "tune with plain LoRA or DoRA"
            )
        elif name.removesuffix(".weight") in paths:
            found.whole[name.removesuffix(".weight")] = tensor
        else:
            found.other.append(name)
    return found


def _must_fit(config: AdapterConfig, found: _Found, sites: Sequence[Site]) -> None:
    """Refuse an adapter that names blocks which this model does not have."""
    folder, known = config.folder, {_numberless(site.path) for site in sites}
    for name in found.other:
        factor = _FACTOR.fullmatch(name)
        path = factor["path"] if factor else name.removesuffix(".weight")
        if _numberless(path) in known:
            raise _other_model(folder, f"it tunes {path}", sites)
    if not found.pairs and not found.whole:
        seen = found.other[0] if found.other else "nothing"
        raise _other_model(folder, f"it tunes no weight matrix (only {seen})", sites)
    for path, pair in found.pairs.items():
        if not {"A", "B"} <= pair.sides.keys():
            raise ModelError(
                f"{folder}: {path} has only one of lora_A and lora_B; save it again"
            )
        if ("magnitude" in pair.sides) != bool(config.settings.get("use_dora")):
            missing = "no" if config.settings.get("use_dora") else "a"
            raise ModelError(
                f"{folder}: {path} has {missing} lora_magnitude_vector, but `use_dora` "
                f"is {bool(config.settings.get('use_dora'))} in adapter_config.json; "
                "copy both from one run"
            )
        if path in found.whole:
            raise ModelError(
                f"{folder}: {path} has both factors and a whole matrix; save it again"
            )


def _begun(
    config: AdapterConfig, reference: Path | None, sites: Sequence[Site]
) -> Mapping[Site, Tensor]:
    """Lengths that the rows had before training, where DoRA says so."""
    if reference is None or not config.settings.get("use_dora"):
        return {}
    begun = read_adapter(reference, sites).factors
    for site, change in begun.items():
        if not isinstance(change, DoraFactors) or change.factors.up.any():
            raise ModelError(
                f"{reference}: its {site.path} is no DoRA adapter from before training "
                f"(B is not 0); give the step-0 adapter of the run of {config.folder}"
            )
    return {
        site: change.magnitude
        for site, change in begun.items()
        if isinstance(change, DoraFactors)
    }


def _change(
    config: AdapterConfig, site: Site, pair: _Pair, start: Tensor | None
) -> LoraFactors | DoraFactors:
    factors = _factors(config, site, pair)
    magnitude = pair.sides.get("magnitude")
    if magnitude is None:
        return factors
    if magnitude.numel() != len(pair.sides["B"]) or not magnitude.isfinite().all():
        raise ModelError(
            f"{config.folder}: the lora_magnitude_vector of {site.path} is "
            f"{list(magnitude.shape)} for {len(pair.sides['B'])} rows, or holds NaN or "
            "infinity; take an earlier checkpoint or save it again"
        )
    return DoraFactors(
        factors=factors, magnitude=cut_magnitude(magnitude, site), start=start
    )


def _matrix(folder: Path, site: Site, stored: Tensor) -> Float[Tensor, "row column"]:
    """One site of a matrix that was saved whole."""
    matrix = stored.T if site.transposed else stored
    rows = site.split.rows() if site.split is not None else range(site.num_rows)
    fits = matrix.ndim == 2 and matrix.shape[1] == site.num_columns
    if not fits or rows[-1] >= len(matrix) or not stored.is_floating_point():
        found = f"its {site.path} is {list(stored.shape)} of {stored.dtype}"
        raise _other_model(folder, found, [site])
    return matrix if site.split is None else matrix[torch.tensor(rows)]


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
