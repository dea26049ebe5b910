"""Adapters of every habit, made by peft itself on tiny models and never trained."""

import warnings

import torch
from peft import LoraConfig, get_peft_model

from tiny_families import tiny_family


def make_adapter(folder, family="llama", *, base=None, **settings):
    """Save a random adapter; what is saved with it is what peft saves.

    Returns the wrapped model; `base` is also saved there, if it is given.
    """
    model = tiny_family(family)
    if base is not None:
        model.save_pretrained(base)
        settings = {"base_model_name_or_path": str(base), **settings}
    usual = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", **(usual | settings))
        )
        if base is not None:
            wrapped.peft_config["default"].base_model_name_or_path = str(base)
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad:
                    parameter.add_(torch.randn_like(parameter), alpha=0.1)
        wrapped.save_pretrained(folder)
    return wrapped


def merged_change(wrapped):
    """What the adapter adds, by name of the tensor, by peft's own merging."""
    before = {
        name.replace(".base_layer", ""): tensor.detach().double().clone()
        for name, tensor in wrapped.get_base_model().state_dict().items()
        if "lora_" not in name
    }
    after = wrapped.double().merge_and_unload().state_dict()
    return {name: after[name] - before[name] for name in after if name in before}
