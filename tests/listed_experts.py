"""The same mixture of experts in the old way: a list of modules and a plain gate."""

import torch
from torch import nn
from transformers import PreTrainedModel

from driftmap.families.expert_tensors import expert_views
from driftmap.families.experts import find_experts
from tiny_experts import tiny_moe


class ListedExpert(nn.Module):
    """One gated expert."""

    def __init__(self, hidden: int, units: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(hidden, units, bias=False)
        self.up_proj = nn.Linear(hidden, units, bias=False)
        self.down_proj = nn.Linear(units, hidden, bias=False)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        gate = nn.functional.silu(self.gate_proj(states))
        return self.down_proj(gate * self.up_proj(states))


class ListedMixture(nn.Module):
    """A block that sends each token to two experts of a list."""

    def __init__(self, num_experts: int, hidden: int, units: int) -> None:
        super().__init__()
        self.top_k = 2
        self.gate = nn.Linear(hidden, num_experts, bias=False)
        self.experts = nn.ModuleList(
            ListedExpert(hidden, units) for _ in range(num_experts)
        )

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        flat = states.flatten(0, -2)
        weights, chosen = self.gate(flat).softmax(-1).topk(self.top_k, dim=-1)
        answer = torch.zeros_like(flat)
        for number, expert in enumerate(self.experts):
            token, slot = torch.where(chosen == number)
            if len(token):
                answers = expert(flat[token]) * weights[token, slot, None]
                answer.index_add_(0, token, answers)
        return answer.view_as(states)


def listed_moe(seed: int = 0) -> PreTrainedModel:
    """`tiny_moe("olmoe", seed)` with its experts in lists, of the same weights."""
    model = tiny_moe("olmoe", seed)
    for bank in find_experts(model):
        place = bank.place
        views = [expert_views(model, bank, e) for e in range(place.num_experts)]
        units, hidden = views[0]["gate"].shape
        block = ListedMixture(place.num_experts, hidden, units).eval()
        with torch.no_grad():
            block.gate.weight.copy_(model.get_parameter(bank.router.weight))
            for expert, parts in zip(block.experts, views, strict=True):
                for part, matrix in parts.items():
                    getattr(expert, f"{part}_proj").weight.copy_(matrix)
        model.set_submodule(place.path.rpartition(".")[0], block)
    return model
