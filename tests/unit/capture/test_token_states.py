from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from driftmap.capture.token_states import num_blocks, token_states
from driftmap.core.errors import MeasureError
from laws.restores import assert_restores_model
from tiny import tiny_llama
from tiny_batches import batched, tiny_samples
from tiny_families import tiny_family

FAMILIES = ("llama", "gpt2", "gemma2", "gpt_neox", "mistral", "bloom")
LENGTHS = (9, 4, 6)
BLOCKS = ("DecoderLayer", "GPT2Block", "GPTNeoXLayer", "BloomBlock")


def everywhere(samples, size=None, **how):
    """Batches that are read at every real token."""
    batches = batched(samples, size, **how)
    return [replace(batch, observed=batch.real) for batch in batches]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_forward_is_one_forward_per_token(family):
    model = tiny_family(family)
    samples = tiny_samples(7)
    (whole,) = token_states(model, everywhere(samples), [0, 1])
    blocks = [m for m in model.modules() if type(m).__name__.endswith(BLOCKS)]
    for token in range(7):
        seen = {}
        handles = [
            block.register_forward_hook(
                lambda _m, _i, out, n=n, seen=seen: seen.__setitem__(n, out)
            )
            for n, block in enumerate(blocks[:2])
        ]
        with torch.no_grad():
            model(samples[0].token_ids[None, : token + 1], use_cache=False)
        for handle in handles:
            handle.remove()
        for layer in range(2):
            out = seen[layer][0] if isinstance(seen[layer], tuple) else seen[layer]
            want = out.reshape(token + 1, -1)[-1].numpy()
            np.testing.assert_allclose(whole[token, layer], want, atol=2e-5)


def test_states_are_those_before_the_final_norm():
    model = tiny_llama(layers=3)
    with torch.no_grad():
        model.model.norm.weight.mul_(7)  # a normed state would be far off
    samples = tiny_samples(5)
    (found,) = token_states(model, everywhere(samples), [0, 1, 2])
    with torch.no_grad():
        out = model(samples[0].token_ids[None], output_hidden_states=True)
        normed = model.model.norm(torch.from_numpy(found[:, 2]))
    for layer in (0, 1):
        want = out.hidden_states[layer + 1][0].numpy()
        np.testing.assert_allclose(found[:, layer], want, atol=1e-5)
    np.testing.assert_allclose(normed, out.hidden_states[3][0], atol=1e-5)


@pytest.mark.parametrize("side", ["left", "right"])
def test_batches_and_padding_change_nothing(side):
    model = tiny_llama()
    samples = tiny_samples(*LENGTHS)
    alone = token_states(model, everywhere(samples, 1), [1, 0])
    together = token_states(model, everywhere(samples, 3, side=side, extra=2), [1, 0])
    assert [one.shape for one in alone] == [(n, 2, 16) for n in LENGTHS]
    for here, there in zip(alone, together, strict=True):
        np.testing.assert_allclose(here, there, atol=2e-6)


def test_only_observed_tokens_are_kept_in_their_order():
    model = tiny_llama()
    samples = tiny_samples(6)
    (batch,) = everywhere(samples)
    (whole,) = token_states(model, [batch], [1])
    flags = torch.tensor([[False, True, False, False, True, True]])
    (some,) = token_states(model, [replace(batch, observed=flags)], [1])
    np.testing.assert_array_equal(some, whole[[1, 4, 5]])


def test_adapters_count_and_the_model_is_left_as_it_was():
    model = tiny_llama()
    batches = everywhere(tiny_samples(*LENGTHS))
    plain = token_states(model, batches, [0, 1])
    tuned = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"]))
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(parameter)
    with assert_restores_model(tuned):
        moved = token_states(tuned, batches, [0, 1])
    assert np.abs(moved[0] - plain[0]).max() > 1e-3
    assert num_blocks(tuned) == 2


def test_a_broken_state_is_named_and_nothing_stays():
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight[0, 0] = torch.inf
    with (
        assert_restores_model(model),
        pytest.raises(MeasureError, match=r"model.layers.1: .* sample s0 is not fin"),
    ):
        token_states(model, everywhere(tiny_samples(5)), [0, 1])


@pytest.mark.parametrize(("layers", "said"), [([2], "layer 2"), ([], "layer list")])
def test_layers_that_are_not_there_are_refused(layers, said):
    with pytest.raises(MeasureError, match=f"{said}: the model has layers 0 to 1"):
        token_states(tiny_llama(), everywhere(tiny_samples(5)), layers)
