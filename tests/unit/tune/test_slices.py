"""Do experts and routers leave a model and come back, bit for bit, by their names?"""

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from driftmap.core.errors import ModelError, StoreError
from driftmap.families.experts import find_experts
from driftmap.results.expert_tuning import ModelSlices
from driftmap.store.expert_slices import load_slices, save_slices
from driftmap.store.whole_models import patched_model
from driftmap.tune.expert_settings import ExpertTuningSettings
from driftmap.tune.experts import ExpertTask, tune_experts
from driftmap.tune.slices import put_slices, take_experts, take_routers
from expert_samples import encoded
from tiny_experts import tiny_moe


def slices_of(model, banks, experts):
    taken = take_experts(model, banks, experts) + take_routers(model, banks)
    return ModelSlices(model="m", model_sha256="0" * 64, slices=taken)


def chosen(banks):
    return [banks[0].experts[1], banks[-1].experts[0], banks[-1].experts[3]]


def changed(model, banks, experts):
    """Move experts and a router."""
    settings = ExpertTuningSettings(learning_rate=1e-2)
    task = ExpertTask(
        banks=banks, experts=experts, samples=encoded(), settings=settings, seed=0
    )
    tune_experts(model, task)
    for name in banks[0].router.parameters:
        model.get_parameter(name).data += 0.5
    return model


@pytest.mark.parametrize("family", ["olmoe", "mixtral", "gpt_oss", "dbrx"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_applied_to_files_and_reverted_the_model_is_the_one_that_was(
    family, dtype, tmp_path
):
    model = tiny_moe(family).to(dtype)
    model.set_experts_implementation("eager")
    before = {name: t.clone() for name, t in model.state_dict().items()}
    model.save_pretrained(tmp_path / "base")
    banks = find_experts(model)
    experts = chosen(banks)
    old = slices_of(model, banks, experts)
    changed(model, banks, experts)
    new = slices_of(model, banks, experts)
    for name, slices in (("old", old), ("new", new)):
        save_slices(tmp_path / f"{name}.safetensors", slices)
    new = load_slices(tmp_path / "new.safetensors")
    old = load_slices(tmp_path / "old.safetensors")

    with patched_model(tmp_path / "base", new.tensors, tmp_path / "tuned"):
        pass
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "tuned", dtype=dtype)
    assert_equal(loaded, model.state_dict())
    with patched_model(tmp_path / "tuned", old.tensors, tmp_path / "again"):
        pass
    file = "model.safetensors"
    again, base = (tmp_path / name / file for name in ("again", "base"))
    assert again.read_bytes() == base.read_bytes()

    put_slices(model, banks, old)
    assert_equal(model, before)
    put_slices(model, banks, new)
    assert_equal(loaded, model.state_dict())


def assert_equal(model, state):
    found = model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in found.items())


def test_experts_tuned_in_float32_widen_a_model_of_bfloat16(tmp_path):
    narrow = tiny_moe("olmoe").bfloat16()
    narrow.save_pretrained(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", dtype=torch.float32
    ).eval()
    banks = find_experts(model)
    changed(model, banks, chosen(banks))
    new = slices_of(model, banks, chosen(banks))
    with patched_model(tmp_path / "base", new.tensors, tmp_path / "tuned"):
        pass
    assert_equal(
        AutoModelForCausalLM.from_pretrained(tmp_path / "tuned"), model.state_dict()
    )
    rounded = slices_of(narrow, banks, chosen(banks))
    with (
        pytest.raises(
            StoreError, match="is F32 there and BF16 in the slices, and would"
        ),
        patched_model(tmp_path / "tuned", rounded.tensors, tmp_path / "again"),
    ):
        pass


@pytest.mark.parametrize(
    ("family", "name"),
    [
        ("olmoe", "model.layers.0.mlp.experts.1.gate_proj.weight"),
        ("mixtral", "model.layers.0.block_sparse_moe.experts.1.w1.weight"),
        ("gpt_oss", "model.layers.0.mlp.experts.gate_up_proj[1]"),
    ],
)
def test_names_are_those_of_published_files(family, name, tmp_path):
    model = tiny_moe(family)
    banks = find_experts(model)
    taken = slices_of(model, banks, chosen(banks))
    assert name in taken.tensors
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        there = set(file.keys())
    assert {name.partition("[")[0] for name in taken.tensors} <= there


def test_leaves_stay_the_model_s_memory_when_slices_come_back():
    model = tiny_moe("olmoe")
    banks = find_experts(model)
    parameter = model.model.layers[0].mlp.experts.gate_up_proj
    address = parameter.data_ptr()
    put_slices(model, banks, slices_of(model, banks, chosen(banks)))
    assert parameter.data_ptr() == address


def test_slices_of_another_model_are_refused_before_anything_is_written():
    model, wide = tiny_moe("olmoe"), tiny_moe("olmoe").double()
    banks = find_experts(model)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    with pytest.raises(ModelError, match=r"has it as F32 .* and the slices as F64"):
        put_slices(model, banks, slices_of(wide, banks, chosen(banks)))
    other = tiny_moe("mixtral")
    foreign = slices_of(other, find_experts(other), chosen(find_experts(other)))
    with pytest.raises(ModelError, match=r"#expert\.1: the model has no .*w1\.weight"):
        put_slices(model, banks, foreign)
    assert_equal(model, before)
