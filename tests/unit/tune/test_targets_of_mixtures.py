"""Which matrices of a mixture does an adapter sit on, and full tuning move?"""

import numpy as np
import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from driftmap.core.errors import ModelError, UsageError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_weight
from driftmap.load.adapters import read_adapter
from driftmap.tune.freezing import hold_weights
from driftmap.tune.settings import TuningSettings
from driftmap.tune.targets import tuned_sites
from tiny_experts import tiny_moe


def test_adapters_leave_banks_and_routers_alone_and_full_tuning_does_not():
    sites = find_layout(tiny_moe("deepseek_v3")).sites
    adapted = tuned_sites(sites, TuningSettings())
    assert [site.path for site in adapted[3:]] == [
        f"model.layers.1.mlp.shared_experts.{name}_proj"
        for name in ("gate", "up", "down")
    ]
    assert tuned_sites(sites, TuningSettings(tune="full")) == sites
    with pytest.raises(UsageError, match=r"but the maps of this model are k o q v$"):
        tuned_sites(find_layout(tiny_moe("olmoe")).sites, TuningSettings(
            lora_parts=("up",)))  # fmt: skip


def test_an_adapter_on_attention_is_read_and_one_on_a_bank_is_refused(tmp_path):
    sites = find_layout(tiny_moe("olmoe")).sites
    torch.manual_seed(0)
    plain = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    peft.get_peft_model(tiny_moe("olmoe"), plain).save_pretrained(tmp_path / "plain")
    factors = read_adapter(tmp_path / "plain", sites).factors
    assert [site.part for site in factors] == ["q", "q"]
    banks = peft.LoraConfig(r=2, target_parameters=["experts.down_proj"])
    peft.get_peft_model(tiny_moe("olmoe"), banks).save_pretrained(tmp_path / "banks")
    with pytest.raises(ModelError, match="LoRA with `target_parameters` adds"):
        read_adapter(tmp_path / "banks", sites)


def test_an_adapter_on_a_router_is_refused(tmp_path):
    settings = peft.LoraConfig(r=2, target_modules=["q_proj"])
    peft.get_peft_model(tiny_moe("olmoe"), settings).save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = {
        name.replace("self_attn.q_proj", "mlp.gate"): tensor
        for name, tensor in load_file(file).items()
    }
    save_file(tensors, file)
    message = (
        "it tunes model.layers.0.mlp.gate, and it is not known what an adapter adds to "
        "a router or a bank of experts; merge it"
    )
    with pytest.raises(ModelError, match=message):
        read_adapter(tmp_path, find_layout(tiny_moe("olmoe")).sites)


@pytest.mark.parametrize("family", ["olmoe", "gpt_oss"])
def test_frozen_weights_of_experts_are_held_one_by_one(family):
    model = tiny_moe(family)
    sites = find_layout(model).sites
    ends = ("#expert.4.up", "#expert.2.down", ".q_proj")
    members = {
        site: np.array([3, 7, 20])
        for site in sites
        if site.key.endswith(ends) or site.part == "router"
    }
    before = {site: site_weight(model, site).clone() for site in sites}
    holds = hold_weights(model, members)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    for hold in holds:
        hold.put_back()
    for site in sites:
        same = (site_weight(model, site) == before[site]).flatten().nonzero()
        assert same.flatten().tolist() == list(members.get(site, ())), site.key
