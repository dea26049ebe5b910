"""Samples for tests that tune experts, and what plain training makes of them."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from driftmap.results.samples import EncodedSample
from tiny_experts import VOCAB


def encoded(num: int = 6, seed: int = 0, counted: int | None = None):
    """Samples of unequal length, prompts of 4 to 8 tokens, answers of 2 or 3."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(num):
        prompt = int(rng.integers(4, 9))
        answer = counted or int(rng.integers(2, 4))
        flags = np.arange(prompt + answer) >= prompt
        made.append(
            EncodedSample(
                sample_id=f"s{number}",
                token_ids=rng.integers(3, VOCAB, prompt + answer).astype("i4"),
                counted=flags,
                prompt_length=prompt,
            )
        )
    return made


def plain_gradients(
    model: nn.Module, samples: Sequence[EncodedSample]
) -> dict[str, Tensor]:
    """Gradients of the mean loss over counted tokens: one sample at a time, no pads."""
    model.requires_grad_(True)
    model.zero_grad()
    total = sum(int(sample.counted.sum()) for sample in samples)
    for sample in samples:
        ids = torch.from_numpy(sample.token_ids).long()
        logits = model(input_ids=ids[None]).logits[0].float()
        nats = functional.cross_entropy(logits[:-1], ids[1:], reduction="none")
        (nats[torch.from_numpy(sample.counted[1:])].sum() / total).backward()
    found = {
        name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
    }
    model.zero_grad()
    model.requires_grad_(False)
    return found


class PlainAdamW:
    """AdamW as its paper says, over some entries, after clipping by their norm."""

    def __init__(self, rate: float, decay: float, max_norm: float) -> None:
        self.rate, self.decay, self.max_norm = rate, decay, max_norm
        self.first: dict[str, Tensor] = {}
        self.second: dict[str, Tensor] = {}
        self.steps = 0

    def step(
        self,
        model: nn.Module,
        gradients: dict[str, Tensor],
        chosen: Callable[[str, Tensor], Tensor],
    ) -> None:
        """Move what `chosen` says of each parameter: a mask of its shape."""
        self.steps += 1
        masks = {name: chosen(name, g) for name, g in gradients.items()}
        kept = {name: g * masks[name] for name, g in gradients.items()}
        norm = torch.stack([g.pow(2).sum() for g in kept.values()]).sum().sqrt()
        scale = min(1.0, self.max_norm / (norm.item() + 1e-6))
        for name, p in model.named_parameters():
            g = kept[name] * scale
            m = 0.9 * self.first.get(name, 0) + 0.1 * g
            v = 0.999 * self.second.get(name, 0) + 0.001 * g**2
            self.first[name], self.second[name] = m, v
            m_hat, v_hat = m / (1 - 0.9**self.steps), v / (1 - 0.999**self.steps)
            moved = p.data * (1 - self.rate * self.decay)
            moved -= self.rate * m_hat / (v_hat.sqrt() + 1e-8)
            p.data = torch.where(masks[name].bool(), moved, p.data)
