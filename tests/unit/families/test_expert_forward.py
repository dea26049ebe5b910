"""Does a bank on sorted rows give what the model gives, and each expert's gradient?"""

from functools import partial

import pytest
import torch

from driftmap.core.errors import ModelError
from driftmap.families import grouped_maps
from driftmap.families.expert_forward import BankCall, is_standard, run_bank
from driftmap.families.expert_switch import running_experts
from driftmap.families.experts import find_experts
from tiny_experts import tiny_moe

TOKENS = torch.arange(3, 21).reshape(2, 9)
STARTS = ["eager", "grouped_mm", "batched_mm"]


class Gradients:
    """Forms every expert's gradient of every tensor from its rows."""

    def __init__(self, model):
        self.model = model
        self.found = {}
        self.anchor = torch.zeros((), requires_grad=True)
        paths = [bank.place.path for bank in find_experts(model)]
        self.calls = {path: partial(self.call, path) for path in paths}

    def call(self, path):
        return BankCall(receive=partial(self.receive, path), anchor=self.anchor)

    def receive(self, path, name, inputs, gradients, rows):
        stored = self.model.get_parameter(f"{path}.{name}")
        summed = torch.zeros_like(stored)
        sums = torch.zeros(len(stored), gradients.shape[1], dtype=stored.dtype)
        for expert in range(len(stored)):
            x, d = inputs[rows.of(expert)], gradients[rows.of(expert)]
            transposed = self.model.get_submodule(path).is_transposed
            summed[expert] = x.T @ d if transposed else d.T @ x
            sums[expert] = d.sum(dim=0)
        self.found[f"{path}.{name}"] = summed
        if hasattr(self.model.get_submodule(path), f"{name}_bias"):
            self.found[f"{path}.{name}_bias"] = sums


def dense_gradients(model, names, implementation):
    """By autograd on the banks' own parameters."""
    model.set_experts_implementation(implementation)
    parameters = [model.get_parameter(name) for name in names]
    loss = model(TOKENS).logits.square().sum()
    return dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", ["olmoe", "gpt_oss", "deepseek_v3"])
def test_rows_hold_the_gradients_of_autograd(name, start):
    model = tiny_moe(name)
    model.set_experts_implementation(start)
    wanted_logits = model(TOKENS).logits
    shown = Gradients(model)
    with running_experts(model, shown.calls):
        for parameter in model.parameters():
            parameter.requires_grad_(False)
        logits = model(TOKENS).logits
        logits.square().sum().backward()
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    torch.testing.assert_close(logits, wanted_logits)
    assert model.get_experts_implementation() == {"": start}
    wanted = dense_gradients(model, list(shown.found), start)
    assert len(wanted) == sum(len(bank.tensors) for bank in find_experts(model))
    for path, gradient in wanted.items():
        scale = gradient.abs().max()
        assert (shown.found[path] - gradient).abs().max() < 1e-5 * scale, path


def test_routers_and_what_lies_below_get_their_gradients_too(monkeypatch):
    monkeypatch.setattr(grouped_maps, "_HAS_GROUPED", False)
    model = tiny_moe("gpt_oss").double()
    names = [n for n, _ in model.named_parameters() if ".mlp.experts." not in n]
    wanted = dense_gradients(model, names, "eager")
    with running_experts(model, {}):
        loss = model(TOKENS).logits.square().sum()
        found = torch.autograd.grad(loss, [model.get_parameter(n) for n in names])
    for name, gradient in zip(names, found, strict=True):
        torch.testing.assert_close(gradient, wanted[name], rtol=1e-9, atol=1e-9)


def test_all_is_restored_after_an_error():
    model = tiny_moe("olmoe")
    model.set_experts_implementation("batched_mm")
    bank = find_experts(model)[0].place.path
    model.get_parameter(f"{bank}.down_proj").requires_grad_(False)
    with pytest.raises(RuntimeError, match="stop"):
        stopped_inside(model, f"{bank}.gate_up_proj")
    assert model.get_experts_implementation() == {"": "batched_mm"}
    assert model.get_parameter(f"{bank}.gate_up_proj").requires_grad
    assert not model.get_parameter(f"{bank}.down_proj").requires_grad


def stopped_inside(model, frozen):
    with running_experts(model, Gradients(model).calls):
        assert not model.get_parameter(frozen).requires_grad
        raise RuntimeError("stop")


def test_a_bank_that_only_runs_itself_is_refused():
    model = tiny_moe("olmoe")
    assert is_standard(model.model.layers[0].mlp.experts)
    switch = running_experts(model, {"model.layers.0.mlp": BankCall})
    with pytest.raises(ModelError, match=r"layers\.0\.mlp: OlmoeSparseMoeBlock does "):
        switch.__enter__()


def test_experts_of_other_processes_are_refused():
    model = tiny_moe("olmoe")
    switch = running_experts(model, Gradients(model).calls)
    model.model.layers[1].mlp.experts._is_expert_parallel = True
    with pytest.raises(ModelError, match=r"layers\.1\.mlp\.experts: its experts are s"):
        switch.__enter__()
    assert model.get_experts_implementation() == {"": "grouped_mm"}


def test_what_enters_each_map_is_seen_on_the_way_forward():
    bank = tiny_moe("olmoe").get_submodule("model.layers.0.mlp.experts")
    hidden = torch.randn(3, 16)
    chosen = torch.tensor([[0, 4], [4, 1], [1, 0]])
    seen = {}
    call = BankCall(see=lambda name, inputs, rows: seen.update({name: inputs}))
    with torch.no_grad():
        run_bank(bank, hidden, chosen, torch.ones(3, 2), call)
    assert torch.equal(seen["gate_up_proj"], hidden[[0, 2, 1, 2, 0, 1]])
    gate, up = (hidden[0] @ bank.gate_up_proj[0].T).chunk(2)
    torch.testing.assert_close(seen["down_proj"][0], bank.act_fn(gate) * up)
