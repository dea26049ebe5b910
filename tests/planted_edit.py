"""A model of which one layer's MLP alone was taught new answers, by torch alone."""

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def plant_edit(base, facts, layer, folder, *, steps=40, save_at=()):
    """Teach facts their foils by the MLP of one layer, and save whole models.

    Checkpoints of `save_at` go to `checkpoint-N`; without any, the last model goes into
    the folder itself.
    """
    model = AutoModelForCausalLM.from_pretrained(base).requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(base)
    mlp = model.model.layers[layer].mlp.requires_grad_(True)
    prompts = [tokenizer(f"{fact.prompt}").input_ids for fact in facts]
    whole = [tokenizer(f"{fact.prompt} {fact.foil}").input_ids for fact in facts]
    width = max(map(len, whole))
    ids = torch.zeros(len(whole), width, dtype=torch.long)
    real = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (asked, said) in enumerate(zip(prompts, whole, strict=True)):
        ids[row, : len(said)] = torch.tensor(said)
        real[row, : len(said)] = 1
        labels[row, len(asked) : len(said)] = torch.tensor(said[len(asked) :])
    optimizer = torch.optim.Adam(mlp.parameters(), lr=3e-3)
    for step in range(steps + 1):
        if step in save_at:
            model.save_pretrained(folder / f"checkpoint-{step}")
        loss = model(input_ids=ids, attention_mask=real, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    if not save_at:
        model.save_pretrained(folder)
    return folder
