"""A model between two is, place by place, what its weights written by hand would be."""

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.core.errors import ModelError
from driftmap.families.masked import mask_adapter
from driftmap.intervene.mixing import Mixer, everywhere
from driftmap.load.twin import twin
from tiny import tiny_llama
from tiny_experts import tiny_moe
from tiny_families import tiny_family, tiny_tokens

IDS = tiny_tokens()
FAMILIES = ("llama", "gpt2", "phi3", "gpt_neox", "gemma2", "bloom")
CHANGING = {"r": 2, "lora_alpha": 8, "lora_dropout": 0.1}


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


def disturbed(model, seed=9):
    """A copy of which every weight is another, tied ones alike."""
    other = copy.deepcopy(model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return other


def adapted(base, **options):
    """An adapter with random factors on a twin of a model."""
    torch.manual_seed(4)
    settings = CHANGING | {"target_modules": ["q_proj", "v_proj", "down_proj"]}
    model = get_peft_model(twin(base), LoraConfig(**(settings | options))).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if any(one in name for one in ("lora_B", "modules_to_save", "magnitude")):
                parameter += 0.2 * torch.rand_like(parameter)
    return model


def by_hand(base, tuned, wanted):
    """A copy of the base with entries of its state taken from the tuned model's."""
    other = copy.deepcopy(base)
    theirs = tuned.state_dict()
    state = {n: theirs[n] if wanted(n) else w for n, w in base.state_dict().items()}
    other.load_state_dict(state)
    return other


@pytest.mark.parametrize("family", FAMILIES)
def test_both_ends_are_the_two_models_bit_for_bit(family):
    base = tiny_family(family)
    tuned = disturbed(base)
    mixer = Mixer(twin(base), tuned)
    before, after = logits(base), logits(tuned)
    assert set(mixer.changed) == set(mixer.places)
    with mixer.mixed(everywhere(0.0)) as model:
        assert torch.equal(logits(model), before)
    with mixer.mixed(everywhere(1.0)) as model:
        assert torch.equal(logits(model), after)
    with mixer.mixed(everywhere(0.0)) as model:
        assert torch.equal(logits(model), before)
    assert torch.equal(logits(base), before)
    assert torch.equal(logits(tuned), after)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
def test_a_layer_of_the_other_model_is_its_entries_put_in_by_hand(family):
    base = tiny_family(family)
    tuned = disturbed(base)
    with Mixer(twin(base), tuned).mixed(lambda p: float(p.layer == 1)) as model:
        found = logits(model)
    one = (".layers.1.", ".h.1.")
    expected = by_hand(base, tuned, lambda n: any(o in n for o in one))
    assert torch.equal(found, logits(expected))
    assert not torch.equal(found, logits(base))


def test_a_part_of_a_fused_matrix_is_its_rows_put_in_by_hand():
    base = tiny_family("gpt2")
    tuned = disturbed(base)
    expected = copy.deepcopy(base)
    for block, theirs in zip(expected.transformer.h, tuned.transformer.h, strict=True):
        block.attn.c_attn.weight.data[:, 16:32] = theirs.attn.c_attn.weight[:, 16:32]
    with Mixer(twin(base), tuned).mixed(lambda p: float(p.part == "k")) as model:
        assert torch.equal(logits(model), logits(expected))


def test_weights_between_lie_on_the_line_through_both():
    base = tiny_llama()
    tuned = disturbed(base)
    expected = copy.deepcopy(base)
    for ours, theirs in zip(expected.parameters(), tuned.parameters(), strict=True):
        ours.data = (ours.double() + 0.3 * (theirs.double() - ours.double())).float()
    with Mixer(twin(base), tuned).mixed(everywhere(0.3)) as model:
        assert torch.equal(logits(model), logits(expected))


def test_of_a_tied_head_one_end_alone_can_be_the_tuned_one():
    base = tiny_llama()
    base.lm_head.weight = base.model.embed_tokens.weight
    tuned = disturbed(base)
    expected = copy.deepcopy(base)
    expected.lm_head.weight = tuned.lm_head.weight
    with Mixer(twin(base), tuned).mixed(lambda p: float(p.part == "head")) as model:
        assert torch.equal(logits(model), logits(expected))


def test_experts_of_a_bank_are_exchanged_with_their_router():
    base = tiny_moe("olmoe")
    tuned = disturbed(base)
    mixer = Mixer(twin(base), tuned)
    with mixer.mixed(everywhere(1.0)) as model:
        assert torch.equal(logits(model), logits(tuned))
    with mixer.mixed(lambda p: float(p.layer == 0 and p.part == "up")) as model:
        found = logits(model)
    expected = copy.deepcopy(base)
    ours = expected.model.layers[0].mlp.experts
    rows = ours.gate_up_proj.shape[1] // 2
    ours.gate_up_proj.data[:, rows:] = tuned.model.layers[0].mlp.experts.gate_up_proj[
        :, rows:
    ]
    assert torch.equal(found, logits(expected))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dora": True},
        {"modules_to_save": ["lm_head", "norm"]},
        {"bias": "all", "target_modules": ["q_proj"]},
        {"target_modules": ["embed_tokens", "gate_proj"]},
        {"use_rslora": True, "target_modules": "all-linear"},
    ],
)
def test_both_ends_of_an_adapter_are_exact(options):
    base = tiny_llama()
    tuned = adapted(base, **options)
    mixer = Mixer(twin(base), tuned)
    before, after = logits(base), logits(tuned)
    assert not torch.equal(before, after)
    with mixer.mixed(everywhere(1.0)) as model:
        assert torch.equal(logits(model), after)
    with mixer.mixed(everywhere(0.0)) as model:
        assert torch.equal(logits(model), before)
    assert torch.equal(logits(tuned), after)


@pytest.mark.parametrize(
    "options", [{}, {"use_dora": True}, {"modules_to_save": ["lm_head"]}]
)
def test_an_adapter_between_is_the_line_to_its_merged_model(options):
    base = tiny_llama()
    tuned = adapted(base, **options)
    whole = copy.deepcopy(tuned).merge_and_unload()
    expected = copy.deepcopy(base)
    for name, ours in expected.named_parameters():
        theirs = whole.get_parameter(name).double()
        ours.data = (ours.double() + 1.25 * (theirs - ours.double())).float()
    with Mixer(twin(base), tuned).mixed(everywhere(1.25)) as model:
        torch.testing.assert_close(logits(model), logits(expected))


def test_only_what_an_adapter_changes_has_changed():
    base = tiny_llama()
    tuned = adapted(base, layers_to_transform=[1])
    changed = Mixer(twin(base), tuned).changed
    assert {(p.layer, p.part) for p in changed} == {(1, "q"), (1, "v"), (1, "down")}
    fresh = get_peft_model(
        twin(base), LoraConfig(**CHANGING, target_modules=["q_proj"])
    )
    assert Mixer(twin(base), fresh).changed == ()


def test_an_adapter_on_a_fused_matrix_can_act_on_one_part():
    base = tiny_family("gpt2")
    tuned = adapted(base, target_modules=["c_attn"], fan_in_fan_out=True)
    whole = copy.deepcopy(tuned).merge_and_unload()
    expected = copy.deepcopy(base)
    for block, theirs in zip(expected.transformer.h, whole.transformer.h, strict=True):
        block.attn.c_attn.weight.data[:, 32:] = theirs.attn.c_attn.weight[:, 32:]
    with Mixer(twin(base), tuned).mixed(lambda p: float(p.part == "v")) as model:
        torch.testing.assert_close(logits(model), logits(expected))


def test_entries_that_an_adapter_leaves_alone_stay_so():
    base = tiny_llama()
    tuned = adapted(base, target_modules=["q_proj"])
    path = "model.layers.0.self_attn.q_proj"
    mask_adapter(tuned.get_base_model().get_submodule(path), "default", np.arange(9))
    after = logits(tuned)
    mixer = Mixer(twin(base), tuned)
    with mixer.mixed(everywhere(1.0)) as model:
        assert torch.equal(logits(model), after)
    with mixer.mixed(everywhere(0.5)) as model:
        half = logits(model)
    for module in tuned.modules():
        if hasattr(module, "lora_B"):
            module.scaling = {name: 0.5 * s for name, s in module.scaling.items()}
    assert torch.equal(half, logits(tuned))


def test_an_error_inside_leaves_both_as_they_were():
    base = tiny_llama()
    tuned = adapted(base)
    before, after = logits(base), logits(tuned)
    shell = twin(base)
    with pytest.raises(KeyError), Mixer(shell, tuned).mixed(everywhere(0.5)):
        raise KeyError
    assert torch.equal(logits(shell), before)
    assert torch.equal(logits(base), before)
    assert torch.equal(logits(tuned), after)


def test_models_of_two_shapes_are_refused():
    with pytest.raises(ModelError, match="compare it with the model it was made from"):
        Mixer(tiny_llama(), tiny_llama(hidden=32))
    with pytest.raises(ModelError, match="the tuned model has no module"):
        Mixer(tiny_llama(layers=3), tiny_llama())
