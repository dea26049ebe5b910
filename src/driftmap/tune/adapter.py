"""How is an adapter put on a model, read while it trains, and taken off again?"""

import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.families.quantised import four_bit, is_four_bit, known_to_peft
from driftmap.signals.changes import DoraFactors, MatrixChange, cut_magnitude
from driftmap.signals.factors import cut_to_site
from driftmap.tune.settings import TuningSettings
from driftmap.tune.targets import tuned_sites as tuned_sites

ADAPTER = "default"


@contextmanager
def adapted(
    model: PreTrainedModel, sites: Sequence[Site], settings: TuningSettings, seed: int
) -> Iterator[PeftModel]:
    """Put a fresh float32 adapter on the modules of `sites`; take it off at the end.

    With `--tune qlora` the model's blocks are rounded to 4 bits below it.

    Args:
        model: The model, without an adapter. It is given back as it was: same
            modules, weights, mode and trainable parameters.
        sites: Matrices to tune; a fused module is adapted once.
        settings: Kind of adapter, rank, scale and dropout.
        seed: Seed of the adapter's initial values.

    Raises:
        ModelError: The model has an adapter, or 4-bit weights that the settings do not
            speak of.
        UsageError: bitsandbytes is needed and missing.
    """
    _check(model, settings)
    with four_bit(model) if settings.is_four_bit else nullcontext():
        yield from _adapted(model, sites, settings, seed)


def _adapted(
    model: PreTrainedModel, sites: Sequence[Site], settings: TuningSettings, seed: int
) -> Iterator[PeftModel]:
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


def row_lengths(model: PeftModel, sites: Sequence[Site]) -> Mapping[str, Tensor]:
    """Copy what DoRA has as length of every row, by module; nothing without DoRA."""
    base = model.get_base_model()
    found = {site.path: _lengths(base.get_submodule(site.path)) for site in sites}
    return {path: rows.clone() for path, rows in found.items() if rows is not None}


def live_factors(
    model: PeftModel,
    sites: Sequence[Site],
    start: Mapping[str, Tensor] | None = None,
) -> Mapping[Site, MatrixChange]:
    """Copy what training has added so far out of the model that is being trained.

    Args:
        model: With the adapter of `adapted`.
        sites: Tuned matrices.
        start: What `row_lengths` gave before the first step; None leaves DoRA's start
            to be computed from the weight.

    Returns:
        Per site its change in float64, which later steps do not alter.
    """
    base = model.get_base_model()
    return {
        site: _site_change(base.get_submodule(site.path), site, start or {})
        for site in sites
    }


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write the adapter alone, in PEFT's own layout, with the same bytes every time."""
    model.save_pretrained(str(folder), save_embedding_layers=False)


def _wrap(
    model: PreTrainedModel, sites: Sequence[Site], settings: TuningSettings, seed: int
) -> PeftModel:
    torch.manual_seed(seed)
    config = _config(sites, settings)
    with warnings.catch_warnings(), known_to_peft(model):
        # PEFT asks transformers by a name that transformers has replaced.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        # PEFT types its result for adapters of any kind.
        wrapped = cast(PeftModel, get_peft_model(model, config))
    # PEFT keeps a set, and writes it in an order that differs between processes.
    config.target_modules = sorted(config.target_modules or ())
    return wrapped


def _config(sites: Sequence[Site], settings: TuningSettings) -> LoraConfig:
    paths = sorted({site.path for site in sites})
    ranks = {path: settings.rank(path) for path in paths}
    alphas = {path: settings.alpha(path) for path in paths}
    # Whole paths, since PEFT sorts patterns on saving, and the first that matches
    # counts.
    return LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        rank_pattern={
            re.escape(path): r for path, r in ranks.items() if r != settings.lora_r
        },
        alpha_pattern={
            re.escape(path): alpha
            for path, alpha in alphas.items()
            if alpha != settings.lora_alpha
        },
        target_modules=paths,
        fan_in_fan_out=all(site.transposed for site in sites),
        bias="none",
        task_type="CAUSAL_LM",
    )


def _check(model: PreTrainedModel, settings: TuningSettings) -> None:
    if isinstance(model, PeftModel) or hasattr(model, "peft_config"):
        raise ModelError(
            "the model already has an adapter: merge it into the weights first "
            "(`merge_and_unload` in peft) and tune the merged model"
        )
    if is_four_bit(model) and not settings.is_four_bit:
        raise ModelError(
            f"the model's weights are kept in 4 bits, and --tune is {settings.tune}: "
            "use --tune qlora, or load the model it was made from"
        )


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


def _site_change(
    module: nn.Module, site: Site, start: Mapping[str, Tensor]
) -> MatrixChange:
    assert isinstance(module, LoraLayer), site.path
    down = cast(nn.Linear, module.lora_A[ADAPTER]).weight.detach()
    up = cast(nn.Linear, module.lora_B[ADAPTER]).weight.detach()
    if down.device.type == "mps":  # has no float64
        down, up = down.cpu(), up.cpu()
    factors = cut_to_site(down, up, module.scaling[ADAPTER], site)
    lengths = _lengths(module)
    if lengths is None:
        return factors
    began = start.get(site.path)
    return DoraFactors(
        factors=factors,
        magnitude=cut_magnitude(lengths.to(down.device), site).clone(),
        start=None
        if began is None
        else cut_magnitude(began.to(down.device), site).clone(),
    )


def _lengths(module: nn.Module) -> Tensor | None:
    assert isinstance(module, LoraLayer)
    if not module.use_dora[ADAPTER]:
        return None
    return cast(nn.Linear, module.lora_magnitude_vector[ADAPTER]).weight.detach()
