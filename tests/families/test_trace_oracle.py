"""Is every trace the one that a plain hooked forward pass per cell gives?"""

import copy

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from driftmap.capture.patching.tracing import trace_prompt
from driftmap.signals.traces import Corruption, Restoring
from laws.restores import assert_restores_model
from made_traces import made_prompt
from tiny import tiny_llama
from tiny_experts import tiny_moe
from tiny_families import FAMILY_NAMES, tiny_family
from trace_oracle import PLACES, Oracle

QUICK = ("llama", "gemma2", "bloom")
EVERY = [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow)
    for name in (*FAMILY_NAMES, "mpt")
]
OUTCOMES = ("prob", "log_prob", "logit", "logit_difference", "rank", "kl")
WANTED = [
    Restoring(),
    Restoring(kind="mlp", window=1),
    Restoring(kind="attn", window=2),
    Restoring(kind="severed_mlp"),
]
ERROR = 1e-5


def corruption(start=1, *, tokens=2, draws=2, size=0.5, replaces=False):
    random = torch.Generator().manual_seed(0)
    values = torch.randn(draws, tokens, 16, generator=random, dtype=torch.float64)
    return Corruption(start=start, values=size * values, replaces=replaces)


def assert_equals_the_oracle(model, name, prompt, noise, wanted=WANTED, **given):
    """Every cell within 1e-5, and not all of them the corrupted run.

    Of `tokens` alone, where it is given: a whole grid the slow way takes its time.
    """
    outcome, tokens = given.get("outcome", "log_prob"), given.get("tokens")
    naive = Oracle(
        model, PLACES[name], prompt, noise.start, noise.values, replaces=noise.replaces
    )
    with assert_restores_model(model):
        found = trace_prompt(model, prompt, noise, wanted, outcome=outcome)
    low = naive.low(outcome)
    for cells in found:
        of = cells.restoring
        exact = naive.grid(
            of.kind, window=of.window, dims=of.dims, outcome=outcome, tokens=tokens
        )
        np.testing.assert_allclose(cells.low, low, rtol=0, atol=ERROR)
        assert cells.high == pytest.approx(naive.high(outcome), abs=ERROR)
        told = cells.scores[tokens] if tokens else cells.scores
        exact = exact[tokens] if tokens else exact
        size = float(exact.abs().max())
        np.testing.assert_allclose(told, exact, rtol=0, atol=ERROR * size)
        assert float((told - low).abs().max()) > 100 * ERROR * size
    return found


@pytest.mark.parametrize("name", EVERY)
def test_every_family_is_traced_as_by_hand(name):
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8, 12))
    model, noise = tiny_family(name), corruption()
    assert_equals_the_oracle(model, name, prompt, noise, tokens=[2, 3])


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_every_outcome_is_read_as_by_hand(outcome):
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(24, 28, 17), foil=(6,))
    given = {"outcome": outcome, "tokens": [2, 3]}
    model, noise = tiny_llama(), corruption(size=1.0)
    assert_equals_the_oracle(model, "llama", prompt, noise, [Restoring()], **given)


HELD = [
    Restoring(),
    Restoring(dims=(3, 7)),
    Restoring(kind="severed_mlp"),
    Restoring(kind="severed_attn"),
]
WINDOWS = [
    Restoring(kind=kind, window=window)
    for kind in ("mlp", "attn")
    for window in (1, 2, 3, 10)
]


@pytest.mark.slow
def test_every_window_and_held_module_is_that_by_hand():
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8,))
    model, wanted = tiny_llama(layers=3), [*HELD, *WINDOWS]
    assert_equals_the_oracle(model, "llama", prompt, corruption(), wanted)


@pytest.mark.parametrize(
    "name",
    [
        "falcon",
        pytest.param("gemma2", marks=pytest.mark.slow),
        pytest.param("gpt_neox", marks=pytest.mark.slow),
    ],
)
def test_norms_after_modules_and_blocks_in_parallel_are_those_by_hand(name):
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8,))
    wanted = [*HELD, *WINDOWS[1::4]]
    model, noise = tiny_family(name), corruption()
    assert_equals_the_oracle(model, name, prompt, noise, wanted, tokens=[1, 2, 3])


@pytest.mark.parametrize(
    ("num_tokens", "subject", "answer"),
    [
        (1, (0, 1), (8,)),
        (1, (0, 1), (8, 12)),
        (4, (0, 4), (8,)),
        (4, (3, 4), (8, 12)),
        (4, (0, 1), (8,)),
        (11, (9, 10), (8,)),
    ],
)
@pytest.mark.parametrize(
    "name", ["llama", pytest.param("gemma3", marks=pytest.mark.slow)]
)
def test_subjects_may_stand_anywhere(name, num_tokens, subject, answer):
    ids = ([4, 9, 11, 7] * 3)[:num_tokens]
    prompt = made_prompt(ids, subject, answer=answer)
    noise = corruption(subject[0], tokens=subject[1] - subject[0], size=1.0)
    wanted = [Restoring(), Restoring(kind="mlp", window=2)]
    tokens = sorted({0, *range(*subject), num_tokens - 1})
    model = tiny_family(name)
    assert_equals_the_oracle(model, name, prompt, noise, wanted, tokens=tokens)


@pytest.mark.parametrize("draws", [1, 3])
def test_noise_may_stand_in_place_of_the_embedding(draws):
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8,))
    noise = corruption(draws=draws, replaces=True)
    assert_equals_the_oracle(tiny_llama(), "llama", prompt, noise)


def test_a_model_of_one_block_is_traced():
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8, 12))
    assert_equals_the_oracle(tiny_llama(layers=1), "llama", prompt, corruption())


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_attention_may_see_few_tokens_in_every_kernel(kernel):
    config = tiny_family("mistral").config
    config.sliding_window = 3
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.set_attn_implementation(kernel)
    prompt = made_prompt([4, 9, 11, 7, 3, 6, 5, 8], (2, 4), answer=(8,))
    wanted, tokens = [Restoring(), Restoring(kind="attn", window=1)], [3, 7]
    noise = corruption(2)
    assert_equals_the_oracle(model, "mistral", prompt, noise, wanted, tokens=tokens)


@pytest.mark.parametrize(
    "name",
    [
        "gpt_oss",  # its experts return a tuple, its attention has sinks
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("mixtral", "deepseek_v3")
        ),
    ],
)
def test_mixtures_of_experts_are_traced_as_by_hand(name):
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8, 12))
    model, noise = tiny_moe(name), corruption()
    assert_equals_the_oracle(model, name, prompt, noise, tokens=[2, 3])


def test_adapters_are_part_of_the_model():
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8, 12))
    config = LoraConfig(
        r=2, target_modules=["q_proj", "down_proj"], init_lora_weights=False
    )
    wrapped = get_peft_model(tiny_llama(), config)
    merged = copy.deepcopy(wrapped).merge_and_unload()
    noise = corruption()
    naive = Oracle(merged, PLACES["llama"], prompt, 1, noise.values)
    with assert_restores_model(wrapped):
        found = trace_prompt(wrapped, prompt, noise, WANTED, outcome="log_prob")
    for cells in found:
        of = cells.restoring
        exact = naive.grid(of.kind, window=of.window, outcome="log_prob", tokens=[2])
        np.testing.assert_allclose(cells.scores[2], exact[2], rtol=0, atol=ERROR)


def test_a_narrow_model_is_traced_as_far_as_it_can_tell():
    prompt = made_prompt([4, 9, 11, 7], (1, 3), answer=(8,))
    model, noise = tiny_llama().bfloat16(), corruption(size=1.0)
    naive = Oracle(model, PLACES["llama"], prompt, 1, noise.values)
    found = trace_prompt(model, prompt, noise, [Restoring()], outcome="log_prob")[0]
    exact = naive.grid("hidden", outcome="log_prob")
    np.testing.assert_allclose(found.scores, exact, rtol=0, atol=0.05)
    assert float((exact - naive.low("log_prob")).abs().max()) > 0.5


def test_noise_may_help_the_answer():
    """Total effects below 0 are no error, and every cell is still exact."""
    model, ids = tiny_llama(), [4, 9, 11, 7]
    naive = Oracle(
        model, PLACES["llama"], made_prompt(ids, (1, 3)), 1, corruption().values
    )
    clean, spoilt = naive.clean_logits[0, -1], naive.corrupted_logits[:, -1]
    helped = int((spoilt.log_softmax(-1).mean(0) - clean.log_softmax(-1)).argmax())
    prompt = made_prompt(ids, (1, 3), answer=(helped,))
    found = assert_equals_the_oracle(
        model, "llama", prompt, corruption(), [Restoring()]
    )
    assert found[0].high < float(found[0].low.mean())
