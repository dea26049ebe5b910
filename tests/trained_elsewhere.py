"""Adapters trained with peft and torch alone, as somebody else would have."""

import json
import warnings

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

LEARNT = torch.arange(24).reshape(4, 6) + 10
"""Token ids of four samples."""


def train(model, folder, *, seed=0, save_at=(0, 2, 4), **settings):
    """Train an adapter and save `checkpoint-N` of it, as the Trainer names them.

    Returns the wrapped model after its last step.
    """
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model)
    usual = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"]}
    config = LoraConfig(task_type="CAUSAL_LM", **(usual | settings))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        wrapped = get_peft_model(base, config)
    wanted = [p for p in wrapped.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(wanted, lr=0.02)
    losses = []
    for step in range(max(save_at) + 1):
        if step in save_at:
            save(wrapped, folder / f"checkpoint-{step}", losses)
        loss = wrapped(input_ids=LEARNT, labels=LEARNT).loss
        losses.append(loss.item())
        loss.backward()
        optimizer.step() if step < max(save_at) else None
        optimizer.zero_grad()
    return wrapped


def save(wrapped, folder, losses):
    wrapped.save_pretrained(folder, save_embedding_layers=False)
    history = [
        {"step": step, "loss": loss, "learning_rate": 0.02, "epoch": 1.0}
        for step, loss in enumerate(losses, 1)
    ]
    history.append({"step": len(losses), "train_loss": 1.0})
    state = {"global_step": len(losses), "log_history": history}
    (folder / "trainer_state.json").write_text(json.dumps(state))


def merged_change(wrapped, model):
    """What training added to every adapted matrix, by path, in float64."""
    base = AutoModelForCausalLM.from_pretrained(model)
    paths = [
        name.removeprefix("base_model.model.").removesuffix(".lora_A.default")
        for name, _ in wrapped.named_modules()
        if name.endswith(".lora_A.default")
    ]
    after = wrapped.double().merge_and_unload()
    return {
        path: after.get_submodule(path).weight.detach()
        - base.get_submodule(path).weight.detach().double()
        for path in paths
    }
