import shutil

import pytest
import torch

from driftmap.capture.attention import observing
from driftmap.families.attention import find_attention
from driftmap.intervene.knock_out import CutEdges, knocked_out
from tiny_experts import MOE_NAMES, tiny_moe
from tiny_families import FAMILY_NAMES, ROW_NAMES, tiny_family, tiny_tokens

MOE = [pytest.param(name, marks=pytest.mark.slow) for name in MOE_NAMES]
SINKS = ("gpt_oss", "deepseek_v4", "glm_moe_dsa")
TWO_MODELS = ("falcon_by_head",)  # transformers scales its biases otherwise under sdpa


def made(name):
    return tiny_moe(name) if name in MOE_NAMES else tiny_family(name)


def eager(name):
    model = made(name)
    if model._can_set_attn_implementation():
        model.set_attn_implementation("eager")
    else:
        model.config._attn_implementation = "eager"
    return model


def padded(side):
    """Two texts of which the first is three tokens shorter."""
    ids = tiny_tokens(tokens=12)
    mask = torch.ones_like(ids)
    mask[0, slice(3) if side == "left" else slice(-3, None)] = 0
    return {"input_ids": ids, "attention_mask": mask, "use_cache": False}


@torch.no_grad()
def all_rows(model, batch, cut=()):
    places, kept = find_attention(model), {}

    def take(signal):
        kept[signal.place] = signal

    with knocked_out(model, places, cut), observing(model, places, None, take):
        logits = model(**batch).logits
    return logits, [kept[number] for number in range(len(places))]


@pytest.mark.parametrize("name", [*FAMILY_NAMES, *ROW_NAMES, *MOE])
def test_rows_are_those_of_eager_and_logits_do_not_move(name):
    side = "left" if len(name) % 2 else "right"
    batch = padded(side)
    model = eager(name) if name in TWO_MODELS else made(name)
    with torch.no_grad():
        plain = model(**batch).logits
        wanted = eager(name)(**batch, output_attentions=True).attentions
    logits, found = all_rows(model, batch)
    assert torch.equal(logits, plain)
    with torch.no_grad():  # some kernels round otherwise where gradients are wanted
        assert torch.equal(model(**batch).logits, plain)
    # Linear layers may return what is no map of tokens by tokens, or nothing.
    square = (batch["input_ids"].shape[1],) * 2
    maps = [one for one in wanted if one is not None and one.shape[2:] == square]
    assert len(maps) == len(found)
    real = batch["attention_mask"].bool()
    for signal, one in zip(found, maps, strict=True):
        rows = signal.weights.transpose(1, 2)[real]  # [row head key]
        assert torch.allclose(rows, one.transpose(1, 2)[real], rtol=0, atol=1e-6)
        total = signal.weights.sum(dim=-1) + signal.sink
        assert torch.allclose(total.transpose(1, 2)[real], torch.ones(()), atol=1e-6)
        assert not signal.weights.triu(1).transpose(1, 2)[real].any()


@pytest.mark.parametrize("name", [*FAMILY_NAMES, *ROW_NAMES, *SINKS])
def test_a_cut_edge_weighs_nothing_and_the_rest_shares_the_whole(name):
    batch = {"input_ids": tiny_tokens(samples=3, tokens=10), "use_cache": False}
    model = made(name)
    layers = frozenset(place.layer for place in find_attention(model))
    cut = [
        CutEdges(),
        CutEdges(layers=layers, queries=(8, 9), keys=(2, 3)),
        CutEdges(layers=layers, queries=(9,), keys=(4, 5, 6, 7, 8, 9)),
    ]
    plain, before = all_rows(model, batch)
    logits, after = all_rows(model, batch, cut)
    assert torch.allclose(logits[:, :8], plain[:, :8], rtol=0, atol=1e-5)
    assert torch.allclose(logits[0], plain[0], rtol=0, atol=1e-5)
    assert not torch.allclose(logits[1, 9], plain[1, 9], rtol=0, atol=1e-4)
    first = after[0]
    assert not first.weights[1, :, 8:, 2:4].any()
    for one, was in zip(after, before, strict=True):
        assert not one.weights[2, :, 9, 4:].any()
        total = one.weights.sum(dim=-1) + one.sink
        assert torch.allclose(total, torch.ones(()), atol=1e-6)
        assert torch.allclose(one.weights[0], was.weights[0], rtol=0, atol=1e-5)
    seen = before[0]
    if not seen.sink.any():  # in the first layer the queries are still the same
        kept = seen.weights[1, :, 9].clone()
        kept[:, 2:4] = 0
        shared = kept / kept.sum(dim=-1, keepdim=True)
        assert torch.allclose(first.weights[1, :, 9], shared, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiles: install g++")
@pytest.mark.filterwarnings("ignore")  # those of the compiler are not ours
def test_rows_of_flex_attention_are_those_of_eager():
    model, batch = made("llama"), padded("left")
    with torch.no_grad():
        wanted = eager("llama")(**batch, output_attentions=True).attentions
        model.set_attn_implementation("flex_attention")
        plain = model(**batch).logits
    logits, found = all_rows(model, batch)
    assert torch.equal(logits, plain)
    real = batch["attention_mask"].bool()
    for signal, one in zip(found, wanted, strict=True):
        rows = signal.weights.transpose(1, 2)[real]
        assert torch.allclose(rows, one.transpose(1, 2)[real], rtol=0, atol=1e-6)
