"""Two models beside each other, and what plain subtraction says of their weights."""

import warnings
from contextlib import contextmanager

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.load.tuned import find_tuned
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.pair import Pair, load_beside
from driftmap.store.run_dir import RunDir


@contextmanager
def opened_pair(base, tuned, out, *, seed=0):
    """A pair in a run folder that is open for as long as the block runs."""
    loaded = load_model(ModelSource(model=str(base), device="cpu"))
    run = find_tuned(
        [str(one) for one in ([tuned] if not isinstance(tuned, list) else tuned)]
    )
    with RunDir.open(out, {"seed": seed}, "compare") as folder:
        yield Pair(
            study=Study(run=folder, loaded=loaded, seed=seed),
            run=run,
            tuned=load_beside(loaded, run.last),
        )


def save_adapter(base, folder, *, size=0.1, **settings):
    """A random adapter on a saved model, made by peft and never trained."""
    model = AutoModelForCausalLM.from_pretrained(base)
    usual = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapped = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", **(usual | settings))
        )
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in wrapped.parameters():
                if parameter.requires_grad and size:
                    parameter.add_(torch.randn_like(parameter), alpha=size)
        wrapped.save_pretrained(folder)
    return wrapped


def save_changed(base, folder, change):
    """A whole model whose tensors a function has changed in place."""
    model = AutoModelForCausalLM.from_pretrained(base)
    with torch.no_grad():
        change(dict(model.named_parameters()))
    model.save_pretrained(folder)
    return folder


def dense_change(pair, *, dtype=torch.float64):
    """W and dW of every parameter in float64, merged by peft where it is an adapter."""
    before = {n: w.detach().to(dtype) for n, w in pair.base.model.named_parameters()}
    tuned = pair.tuned.model
    if hasattr(tuned, "merge_and_unload"):
        tuned = tuned.to(dtype).merge_and_unload()
    after = {n: w.detach().to(dtype) for n, w in tuned.named_parameters()}
    return before, {name: after[name] - before[name] for name in before}
