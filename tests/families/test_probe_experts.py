import pytest
import torch
from safetensors.torch import load_file

from driftmap.families.expert_names import hub_pieces, hub_router_names, hub_views
from driftmap.families.expert_probe import probe_experts
from driftmap.families.experts import find_experts
from laws.restores import assert_restores_model
from tiny_experts import LAWLESS_NAMES, MOE_NAMES, moe_tokens, tiny_moe

FAST = ("dbrx", "deepseek_v3", "gpt_oss", "llama4_text", "mixtral", "nemotron_h")
"""One of each layout: packed, groups and bias, transposed, untold, plain, no gate."""

FAMILIES = [
    name if name in FAST else pytest.param(name, marks=pytest.mark.slow)
    for name in MOE_NAMES
]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_experts_of_a_family_are_what_they_are_said_to_be(family):
    model = tiny_moe(family)
    banks = find_experts(model)
    with assert_restores_model(model):
        found = probe_experts(
            model,
            banks,
            moe_tokens(samples=4, tokens=16),
            moe_tokens(samples=4, tokens=16, seed=1),
        )
    paths = {bank.place.path for bank in banks}
    assert set(found.lawless if family in LAWLESS_NAMES else found.laws) == paths


@pytest.mark.parametrize("family", FAMILIES)
def test_an_experts_tensors_have_the_names_and_numbers_of_a_saved_model(
    family, tmp_path
):
    model = tiny_moe(family)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    for bank in find_experts(model):
        pieces = hub_pieces(model, bank)
        for name, view in hub_views(model, bank, pieces, 1).items():
            whole, _, number = name.partition("[")
            content = saved[whole]
            if number:
                rows = len(content) // bank.place.num_experts
                content = content[rows : 2 * rows].reshape(view.shape)
            assert torch.equal(content, view)
        assert set(hub_router_names(model, bank.router).values()) <= set(saved)


def test_at_least_25_families_are_proved():
    assert len(MOE_NAMES) >= 25
