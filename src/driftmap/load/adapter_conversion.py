"""How does an adapter whose start rewrote its base become one of the base itself?

PiSSA and its like take `s B_0 A_0` out of the base before training, so that the model
stays what it was. Its change is then `s (B_t A_t - B_0 A_0)`: a plain adapter of twice
the rank, which fits the base as it was published.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.load.adapter_config import AdapterConfig, read_adapter_config
from driftmap.load.adapters import read_adapter
from driftmap.load.tensor_files import weight_files

_SCALING = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora")


def convert_adapter(
    folder: Path, reference: Path | None, sites: Sequence[Site], target: Path
) -> None:
    """Write an adapter with a rewriting start as a plain one of twice the rank.

    Args:
        folder: The adapter, of a later step.
        reference: Adapter of the same run from before training; None where none was
            kept.
        sites: All scored matrices of the model.
        target: Folder for the plain adapter.

    Raises:
        ModelError: Either is broken, of another model or another training run, or the
            start left another model than the base.
    """
    config = read_adapter_config(folder)
    start = config.rewriting_start or ""
    if start.startswith("loftq"):
        raise ModelError(
            f"{folder}: its start `{start}` replaced the base by a rounded one, so "
            "there is no published model that it changes; tune with another start"
        )
    if config.settings.get("use_dora"):
        raise ModelError(
            f"{folder}: DoRA that starts with `{start}` is no sum of factors, and "
            "cannot become a plain adapter; convert on saving with "
            "`path_initial_model_for_weight_conversion`, or tune with another start"
        )
    adapter = read_adapter(folder, sites, reference=reference)
    assert reference is not None, "read_adapter refuses without"
    others = [*adapter.other_parts, *(site.path for site in adapter.whole)]
    if others:
        raise ModelError(
            f"{folder}: with the start `{start}` it also changes "
            f"{others[0]}, which cannot be converted; convert on saving "
            "with `path_initial_model_for_weight_conversion`"
        )
    begun = read_adapter_config(reference)
    read_adapter(reference, sites, reference=reference)
    _require_same_run(config, begun)
    now, then = (load_file(weight_files(place)[0]) for place in (folder, reference))
    if {k: v.shape for k, v in now.items()} != {k: v.shape for k, v in then.items()}:
        raise ModelError(
            f"{reference}: tunes other matrices than {folder}; give the adapter that "
            "the same run had before training"
        )
    target.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: _joined(name, now[name], then[name]) for name in sorted(now)},
        target / "adapter_model.safetensors",
        metadata={"format": "pt"},
    )
    text = json.dumps(_twice_the_rank(config.settings), indent=2, sort_keys=True)
    (target / "adapter_config.json").write_text(text + "\n", encoding="utf-8")


def _require_same_run(config: AdapterConfig, begun: AdapterConfig) -> None:
    for name in _SCALING:
        one, other = config.settings.get(name), begun.settings.get(name)
        if (one or None) != (other or None):
            raise ModelError(
                f"{begun.folder}: `{name}` is {other} where {config.folder} has {one}; "
                "give the adapter that the same run had before training"
            )


def _joined(name: str, now: Tensor, then: Tensor) -> Tensor:
    """`[B_t, -B_0]` and `[A_t; A_0]`."""
    if name.endswith(".lora_A.weight"):
        return torch.cat([now, then], dim=0).contiguous()
    return torch.cat([now, -then], dim=1).contiguous()


def _twice_the_rank(settings: Mapping[str, object]) -> dict[str, object]:
    """Settings with the same scale at twice the rank, and a start that adds nothing."""
    growth = math.sqrt(2) if settings.get("use_rslora") else 2
    changed = dict(settings) | {"init_lora_weights": True}
    for name, factor in (("r", 2), ("lora_alpha", growth)):
        changed[name] = _number(settings[name]) * factor
    for name, factor in (("rank_pattern", 2), ("alpha_pattern", growth)):
        pattern = settings.get(name) or {}
        assert isinstance(pattern, Mapping), name
        changed[name] = {key: value * factor for key, value in pattern.items()}
    return changed


def _number(value: object) -> int | float:
    assert isinstance(value, int | float), "read_adapter has used it"
    return value
