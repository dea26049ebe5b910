"""How is a LoRA adapter put on a model, read while it trains, and taken off again?"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel

from driftmap.core.errors import ModelError, UsageError
from driftmap.core.places import Site
from driftmap.signals.factors import LoraFactors, cut_to_site
from driftmap.tune.settings import TuningSettings

ADAPTER = "default"


def tuned_sites(sites: Sequence[Site], settings: TuningSettings) -> tuple[Site, ...]:
    """The sites that the settings ask to tune.

    Raises:
        UsageError: No site has a wanted part, or a fused module holds wanted and
            unwanted parts, which one adapter cannot tell apart.
    """
    wanted = set(settings.lora_parts) or {site.part for site in sites}
    chosen = tuple(site for site in sites if site.part in wanted)
    if not chosen:
        there = " ".join(sorted({site.part for site in sites}))
        raise UsageError(
            f"--lora-parts names {' '.join(sorted(wanted))}, but the maps of this "
            f"model are {there or 'none'}"
        )
    paths = {site.path for site in chosen}
    for site in sites:
        if site.path in paths and site.part not in wanted:
            raise UsageError(
                f"{site.path} holds several parts in one matrix, {site.part} among "
                f"them: add {site.part} to --lora-parts, since the matrix can only be "
                "tuned whole"
            )
    return chosen


@contextmanager
def adapted(
    model: PreTrainedModel, sites: Sequence[Site], settings: TuningSettings, seed: int
) -> Iterator[PeftModel]:
    """Put a fresh float32 adapter on the modules of `sites`; take it off at the end.

    Args:
        model: The model, without an adapter. It is given back as it was: same
            modules, weights, mode and trainable parameters.
        sites: Matrices to tune; a fused module is adapted once.
        settings: Rank, scale and dropout.
        seed: Seed of the adapter's initial values.
    """
    if isinstance(model, PeftModel) or hasattr(model, "peft_config"):
        raise ModelError(
            "the model already has an adapter: merge it into the weights first "
            "(`merge_and_unload` in peft) and tune the merged model"
        )
    needed_gradient = [p.requires_grad for p in model.parameters()]
    was_training = model.training
    forward = model.__dict__.get("forward")
    tags = model.__dict__.get("model_tags")
    try:
        yield _wrap(model, sites, settings, seed)
    finally:
        _unwrap(model)
        _restore_attribute(model, "forward", forward)
        _restore_attribute(model, "model_tags", tags)
        for parameter, needed in zip(model.parameters(), needed_gradient, strict=True):
            parameter.requires_grad_(needed)
            parameter.grad = None
        model.train(was_training)


def live_factors(model: PeftModel, sites: Sequence[Site]) -> Mapping[Site, LoraFactors]:
    """Copy the factors of each site out of the model that is being trained.

    Returns:
        Per site its float64 factors, which later steps do not change.
    """
    base = model.get_base_model()
    return {site: _site_factors(base.get_submodule(site.path), site) for site in sites}


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone, in PEFT's own layout, with the same bytes every time."""
    model.save_pretrained(str(folder), save_embedding_layers=False)


def _wrap(
    model: PreTrainedModel, sites: Sequence[Site], settings: TuningSettings, seed: int
) -> PeftModel:
    torch.manual_seed(seed)
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=sorted({site.path for site in sites}),
        fan_in_fan_out=all(site.transposed for site in sites),
        bias="none",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # PEFT asks transformers by a name that transformers has replaced.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        # PEFT types its result for adapters of any kind.
        wrapped = cast(PeftModel, get_peft_model(model, config))
    # PEFT keeps a set, and writes it in an order that differs between processes.
    config.target_modules = sorted(config.target_modules or ())
    return wrapped


def _unwrap(model: PreTrainedModel) -> None:
    if hasattr(model, "peft_config"):
        del model.peft_config
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            model.set_submodule(name, module.get_base_layer())


def _restore_attribute(model: nn.Module, name: str, found: object) -> None:
    if found is not None:
        setattr(model, name, found)
    elif name in model.__dict__:
        delattr(model, name)


def _site_factors(module: nn.Module, site: Site) -> LoraFactors:
    assert isinstance(module, LoraLayer), site.path
    down = cast(nn.Linear, module.lora_A[ADAPTER]).weight.detach()
    up = cast(nn.Linear, module.lora_B[ADAPTER]).weight.detach()
    if down.device.type == "mps":  # has no float64
        down, up = down.cpu(), up.cpu()
    return cut_to_site(down, up, module.scaling[ADAPTER], site)
