"""Do the pieces of a pass add up to each sample's own gradient of every tensor?"""

import gc
import weakref
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from driftmap.capture.gradients import show_gradients
from driftmap.core.errors import MeasureError
from driftmap.core.progress import Silence, listening
from driftmap.families.quantised import four_bit
from driftmap.families.tensors import choose_tensors, find_tensors
from driftmap.signals.gradients import LookedUpRows, OuterProducts, WholeGradients
from four_bit import needs_bitsandbytes, wide_llama
from gradient_oracles import Collected, autograd_gradients, by_parameter
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_batches import TinySample, batched, checkpointed, tiny_samples
from tiny_families import tiny_family

SAMPLES = tiny_samples(7, 4, 6)


def shown(model, batches, rules=None):
    taken = Collected()
    with assert_restores_model(model):
        show_gradients(model, rules or find_tensors(model), batches, taken)
    assert all("forward" not in vars(module) for module in model.modules())
    return taken


def assert_equal(found, wanted, atol=1e-9):
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=atol, msg=name)


def assert_is_autograd(model, samples, batches=None, wanted=None):
    rules = find_tensors(model)
    found = shown(model, batches or batched(samples, 2)).gradients()
    assert_equal(
        by_parameter(rules, found), wanted or autograd_gradients(model, samples)
    )


def signals_of(taken, name):
    return [signal for signal in taken.signals if signal.tensor.name == name]


@pytest.mark.parametrize(
    "lengths", [(7, 4, 6), (2, 30), (2,)], ids=["several", "far apart", "two tokens"]
)
def test_pieces_add_up_to_the_gradient_of_every_parameter(lengths):
    assert_is_autograd(tiny_llama().double(), tiny_samples(*lengths))


@pytest.mark.parametrize("layout", [
    {"size": 1}, {"size": 3}, {"size": 3, "extra": 5}, {"size": 2, "side": "left"},
])  # fmt: skip
@pytest.mark.parametrize("name", ["llama", "opt"])
def test_neither_batches_nor_padding_matter(layout, name):
    model = tiny_family(name).double()
    wanted = shown(model, batched(SAMPLES, 2)).gradients()
    found = shown(model, batched(SAMPLES, **layout)).gradients()
    assert_equal(found, wanted, atol=1e-12)


def test_what_stands_at_padding_does_not_matter():
    model = tiny_llama().double()
    (batch,) = batched(SAMPLES)
    other = replace(batch, token_ids=batch.token_ids.masked_fill(~batch.real, 2))
    found = shown(model, [other])
    assert_equal(found.gradients(), shown(model, [batch]).gradients(), atol=1e-12)
    for signal in found.signals:
        for piece in signal.pieces:
            if isinstance(piece, OuterProducts) and signal.tensor.part != "head":
                assert not piece.inputs[~batch.real].any()
            if isinstance(piece, LookedUpRows):
                assert torch.equal(piece.counted, batch.real)


def tied_llama(pad):
    """The tied head reads the pad token's row; looking it up adds nothing to it."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=pad,
        tie_word_embeddings=True,
    )
    model = LlamaForCausalLM(config).double().eval()
    with torch.no_grad():
        model.model.embed_tokens.weight[pad] = 0.3
    return model


def test_a_tied_embedding_is_one_signal_with_both_its_uses():
    model = tied_llama(pad=2)
    with_eos = [
        replace_tokens(sample, torch.tensor([2, *sample.token_ids[1:-1], 2]))
        for sample in SAMPLES
    ]
    assert model.model.embed_tokens.padding_idx == 2
    taken = shown(model, batched(with_eos))
    (signal,) = signals_of(taken, "model.embed_tokens.weight")
    kinds = {type(piece) for piece in signal.pieces}
    assert kinds == {OuterProducts, LookedUpRows}
    wanted = autograd_gradients(model, with_eos)
    assert_equal(taken.gradients(), wanted)
    assert wanted["model.embed_tokens.weight"][:, 2].abs().max() > 0


def replace_tokens(sample, token_ids):
    return TinySample(
        id=sample.id,
        index=sample.index,
        token_ids=token_ids,
        num_counted=sample.num_counted,
    )


def test_the_head_sees_labelled_tokens_alone():
    model = tiny_llama().double()
    samples = [*tiny_samples(9, seed=1, counted=1), *tiny_samples(5, 8, counted=4)]
    samples = [replace_index(sample, index) for index, sample in enumerate(samples)]
    taken = shown(model, batched(samples))
    (signal,) = signals_of(taken, "lm_head.weight")
    (piece,) = signal.pieces
    assert piece.inputs.shape == (3, 4, 16)
    assert piece.gradients.shape == (3, 4, 40)
    assert not piece.inputs[0, 1:].any()
    assert_equal(taken.gradients(), autograd_gradients(model, samples))


def replace_index(sample, index):
    return TinySample(
        id=f"n{index}",
        index=index,
        token_ids=sample.token_ids,
        num_counted=sample.num_counted,
    )


def test_a_module_that_runs_twice_adds_up():
    model = tiny_llama().double()
    mlp = model.model.layers[1].mlp
    once = mlp.forward
    mlp.forward = lambda hidden: once(torch.tanh(once(hidden)))
    rules = find_tensors(model)
    taken = Collected()
    show_gradients(model, rules, batched(SAMPLES), taken)
    (signal,) = signals_of(taken, "model.layers.1.mlp.up_proj.weight")
    assert [piece.inputs.shape[1] for piece in signal.pieces] == [14]
    assert_equal(taken.gradients(), autograd_gradients(model, SAMPLES))


def test_biases_and_norms_that_run_twice_add_up():
    model = tiny_family("gpt2").double()
    block = model.transformer.h[1]
    once = block.forward
    block.forward = lambda hidden, *rest, **named: once(
        torch.tanh(once(hidden, *rest, **named)), *rest, **named
    )
    taken = Collected()
    rules = find_tensors(model)
    show_gradients(model, rules, batched(SAMPLES), taken)
    found = by_parameter(rules, taken.gradients())
    assert_equal(found, autograd_gradients(model, SAMPLES))


def test_models_may_change_what_a_table_gives_in_place():
    model = tiny_llama().double()
    hook = model.model.embed_tokens.register_forward_hook(
        lambda _module, _ids, rows: rows.mul_(2) if rows.requires_grad else rows * 2
    )
    taken = Collected()
    show_gradients(model, find_tensors(model), batched(SAMPLES), taken)
    hook.remove()
    model.model.embed_tokens.register_forward_hook(lambda _m, _i, rows: rows * 2)
    assert_equal(taken.gradients(), autograd_gradients(model, SAMPLES))


def test_maps_that_read_the_same_tensor_share_its_key():
    taken = shown(tiny_llama(), batched(SAMPLES))
    by_part = {
        signal.tensor.part: signal.pieces[0].inputs_key
        for signal in taken.signals
        if signal.tensor.layer == 0 and signal.tensor.part != "norm"
    }
    assert by_part["q"] == by_part["k"] == by_part["v"]
    assert by_part["gate"] == by_part["up"]
    assert len(set(by_part.values())) == 4


@pytest.mark.parametrize("name", ["phi3", "gpt_neox"])
def test_slices_of_a_fused_map_share_their_inputs(name):
    model = tiny_family(name).double()
    whole = autograd_gradients(model, SAMPLES)
    chosen = choose_tensors(find_tensors(model), lambda place: place.part == "k")
    taken = shown(model, batched(SAMPLES), chosen)
    assert {signal.tensor.part for signal in taken.signals} == {"k"}
    for rule in chosen:
        (one,) = rule.slices
        cut = whole[rule.name][:, one.rows.rows()]
        assert_equal({"": taken.gradients()[one.place.name]}, {"": cut})


def test_what_is_not_chosen_is_not_shown():
    model = tiny_llama().double()
    wanted = autograd_gradients(model, SAMPLES)
    for part in ("norm", "embed", "head", "down"):
        chosen = choose_tensors(
            find_tensors(model), lambda p, part=part: p.part == part
        )
        found = shown(model, batched(SAMPLES), chosen).gradients()
        assert_equal(found, {rule.name: wanted[rule.name] for rule in chosen})


def test_no_gradient_of_a_parameter_is_made():
    model = tiny_family("gpt2")
    seen = []

    def look(signal):
        seen.append([p.requires_grad for p in model.parameters()])
        seen.append([p.grad is not None for p in model.parameters()])

    show_gradients(model, find_tensors(model), batched(SAMPLES), look)
    assert seen
    assert not any(any(flags) for flags in seen)


def test_nothing_of_a_batch_is_held_when_it_is_done():
    model = tiny_family("gpt2")
    held = []

    def keep(signal):
        for piece in signal.pieces:
            whole = isinstance(piece, WholeGradients)
            held.append(weakref.ref(piece.values if whole else piece.gradients))

    gc.disable()
    try:
        show_gradients(model, find_tensors(model), batched(SAMPLES, 2), keep)
        assert held
        assert not [one for one in held if one() is not None]
    finally:
        gc.enable()


def test_a_taker_that_fails_leaves_the_model_as_it_was():
    model = tiny_family("gemma3")

    def fail(signal):
        raise ArithmeticError(signal.tensor.name)

    with assert_restores_model(model), pytest.raises(ArithmeticError):
        show_gradients(model, find_tensors(model), batched(SAMPLES), fail)
    assert all("forward" not in vars(module) for module in model.modules())


def test_checkpointed_blocks_show_the_same():
    model = tiny_llama().double()
    wanted = shown(model, batched(SAMPLES)).gradients()
    found = shown(checkpointed(model, use_reentrant=False), batched(SAMPLES))
    assert_equal(found.gradients(), wanted, atol=1e-12)


def test_gradients_of_what_an_adapter_wraps_are_of_the_base_weights():
    model = tiny_llama().double()
    names = {rule.name: rule.shape for rule in find_tensors(model)}
    config = LoraConfig(
        r=2, target_modules=["q_proj", "down_proj", "embed_tokens", "lm_head"],
        init_lora_weights=False,
    )  # fmt: skip
    adapted = get_peft_model(model, config).double().eval()
    assert {rule.name: rule.shape for rule in find_tensors(adapted)} == names
    wanted = {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): gradient
        for name, gradient in autograd_gradients(adapted, SAMPLES).items()
        if "lora_" not in name
    }
    assert_is_autograd(adapted, SAMPLES, wanted=wanted)


@needs_bitsandbytes
def test_four_bit_maps_show_gradients_of_the_weights_they_compute_with():
    model = wide_llama()
    names = [rule.places for rule in find_tensors(model)]
    with four_bit(model):
        assert [rule.places for rule in find_tensors(model)] == names
        found = shown(model, batched(SAMPLES)).gradients()
        dense = wide_llama()
        with torch.no_grad():
            for name, module in model.named_modules():
                if type(module).__name__ == "Linear4bit":
                    eye = torch.eye(module.in_features)
                    dense.get_submodule(name).weight.copy_(module(eye).T)
    for name, gradient in autograd_gradients(dense.double(), SAMPLES).items():
        error = (found[name] - gradient).abs().max()
        assert error < 1e-4 * gradient.abs().max(), name


class Scaled(nn.Module):
    """A map with a length for every output: what no kind knows."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, 16, dtype=torch.float64))

    def forward(self, hidden):
        return self.inner(hidden) * self.gain


def test_a_parameter_of_no_known_kind_is_shown_by_autograd():
    model = tiny_llama().double()
    model.model.layers[0].mlp = Scaled(model.model.layers[0].mlp)
    rules = find_tensors(model)
    others = [rule for rule in rules if rule.kind == "other"]
    assert [rule.name for rule in others] == ["model.layers.0.mlp.gain"]
    assert others[0].places[0].part == "block"
    heard = Heard()
    with listening(heard):
        taken = shown(model, batched(SAMPLES, 2))
    assert_equal(taken.gradients(), autograd_gradients(model, SAMPLES))
    share = 16 / sum(parameter.numel() for parameter in model.parameters())
    assert heard.lines == [
        f"model.layers.0.mlp.gain ({share:.2%} of the weights) is of no known kind: "
        "one more pass per sample"
    ]


class Heard(Silence):
    def __init__(self):
        self.lines = []

    def said(self, message):
        self.lines.append(message)


def test_float32_and_bfloat16_are_near_the_truth():
    wanted = autograd_gradients(tiny_llama().double(), SAMPLES)
    for dtype, share in ((torch.float32, 2e-6), (torch.bfloat16, 0.2)):
        found = shown(tiny_llama().to(dtype), batched(SAMPLES, 2)).gradients()
        for name, gradient in wanted.items():
            error = (found[name] - gradient).norm() / gradient.norm()
            assert error < share, name


def test_small_gradients_say_how_large_their_rounding_may_be():
    model = tiny_family("qwen2").double()
    (batch,) = batched(SAMPLES)
    taken = shown(model, [batch])
    (weight,) = signals_of(taken, "model.layers.0.self_attn.q_proj.weight")
    (bias,) = signals_of(taken, "model.layers.0.self_attn.q_proj.bias")
    (piece,) = bias.pieces
    assert isinstance(piece, WholeGradients)
    G = weight.pieces[0].gradients
    # The last token predicts nothing, and the first has one key to look at.
    terms = torch.tensor([5.0, 2.0, 4.0], dtype=torch.float64)
    wanted = terms * G.square().sum(dim=(1, 2))
    torch.testing.assert_close(piece.summed_squares, wanted)


def test_a_number_that_is_not_finite_names_tensor_and_sample():
    model = tiny_llama()
    with torch.no_grad():
        model.model.embed_tokens.weight[5] = torch.nan
    samples = tiny_samples(7, 4, vocab=4)
    samples[1].token_ids[1] = 5
    with assert_restores_model(model), pytest.raises(MeasureError) as refusal:
        show_gradients(model, find_tensors(model), batched(samples), Collected())
    assert str(refusal.value) == (
        "model.layers.0.input_layernorm: the output for sample s1 is not finite; are "
        "the weights damaged, or is the dtype too narrow?"
    )


def test_gradients_that_overflow_name_tensor_and_sample():
    model = tiny_llama()
    hook = model.model.layers[0].register_full_backward_hook(
        lambda _module, given, _taken: (given[0] * torch.inf,)
    )
    with pytest.raises(MeasureError, match="the gradient of sample s0 is not finite"):
        show_gradients(model, find_tensors(model), batched(SAMPLES), Collected())
    hook.remove()


def test_dropout_and_unused_parameters_are_refused():
    model = tiny_llama()
    model.model.layers[1].mlp.spare = nn.Linear(16, 16, bias=False)
    with assert_restores_model(model), pytest.raises(MeasureError) as refusal:
        show_gradients(model, find_tensors(model), batched(SAMPLES), Collected())
    assert str(refusal.value) == (
        "model.layers.1.mlp.spare.weight: the model never used this parameter; leave "
        "it out"
    )
    with pytest.raises(MeasureError, match="nothing to do"):
        show_gradients(model, (), batched(SAMPLES), Collected())
    gpt = tiny_family("gpt2").train()
    with pytest.raises(MeasureError, match="dropout is on"):
        show_gradients(gpt, find_tensors(gpt), batched(SAMPLES), Collected())


def test_rows_that_all_samples_share_are_refused():
    model = tiny_family("gpt2")
    positions = model.transformer.wpe
    given = positions.forward
    positions.forward = lambda ids: given(ids[:1])
    with pytest.raises(MeasureError, match=r"transformer\.wpe: .*not sample x token"):
        show_gradients(model, find_tensors(model), batched(SAMPLES), Collected())
