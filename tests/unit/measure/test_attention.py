import math

import numpy as np
import pytest
import torch

from driftmap.capture.attention import observing
from driftmap.families.attention import find_attention, seeing
from driftmap.families.discover import find_layout
from driftmap.families.matrices import effective_weight
from driftmap.measure.attention import AttentionFold, attention_numbers, writing_of
from driftmap.measure.tracing import token_roles
from driftmap.results.attention import AttentionPrompt, AttentionQuery, AttentionRows
from driftmap.results.trace_kinds import ROLES
from tiny import tiny_llama
from tiny_families import tiny_tokens

T = 9
LAST = AttentionQuery(kind="produces", answer_token=0, position=T - 1)
EARLIER = AttentionQuery(kind="own", answer_token=0, position=4)


def writing(model):
    sites = [site for site in find_layout(model).sites if site.part == "o"]
    return {
        number: writing_of(effective_weight(model, site), 4)
        for number, site in enumerate(sites)
    }


@torch.no_grad()
def folded(model, *, whole, lengths=True):
    places = find_attention(model)
    kept = writing(model) if lengths else {}
    fold = AttentionFold("a", (LAST, EARLIER), T, kept, is_whole=whole)
    rows = None if whole else torch.tensor([[T - 1, 4]])
    with observing(model, places, rows, fold.take):
        model(tiny_tokens(samples=1, tokens=T), use_cache=False)
    return fold.result()


@torch.no_grad()
def maps(model):
    eager = tiny_llama()
    eager.set_attn_implementation("eager")
    eager.load_state_dict(model.state_dict())
    ids = tiny_tokens(samples=1, tokens=T)
    return eager(ids, output_attentions=True).attentions


def prompt(subject=(2, 4), control=(4, 6)):
    return AttentionPrompt(
        id="a", text="", tokens=("x",) * T, num_prompt=T, answer=("y",),
        subject=subject,
        control=control, roles=token_roles(T, subject) if subject else (),
        cluster="a", is_known=None, log_prob=0.0,
    )  # fmt: skip


def test_kept_rows_are_those_of_the_maps_whether_all_come_or_some(monkeypatch):
    model = tiny_llama()
    wanted = maps(model)
    monkeypatch.setattr("driftmap.capture.attention.WEIGHTS_AT_ONCE", 4 * T * 2)
    for whole in (False, True):
        for one, at in zip(folded(model, whole=whole), (T - 1, 4), strict=True):
            own = torch.stack([layer[0, :, at] for layer in wanted]).numpy()
            np.testing.assert_allclose(one.weights, own, rtol=0, atol=1e-6)
            assert one.num_seen.tolist() == [at + 1, at + 1]
            assert (one.rollout is None) == (not whole)
            assert (one.received is None) == (not whole)


def test_whole_maps_are_kept_only_where_they_are_asked_for(monkeypatch):
    model, wanted = tiny_llama(), maps(tiny_llama())
    monkeypatch.setattr("driftmap.capture.attention.WEIGHTS_AT_ONCE", 4 * T * 2)
    places = find_attention(model)
    for keeps_maps in (False, True):
        fold = AttentionFold("a", (LAST,), T, {}, is_whole=True, keeps_maps=keeps_maps)
        with torch.no_grad(), observing(model, places, None, fold.take):
            model(tiny_tokens(samples=1, tokens=T), use_cache=False)
        assert len(fold.maps()) == keeps_maps
    own = torch.stack([layer[0] for layer in wanted]).numpy()
    np.testing.assert_allclose(fold.maps()[0].weights, own, rtol=0, atol=1e-6)


def test_a_kept_row_holds_no_other_row():
    model = tiny_llama()
    places = find_attention(model)
    fold = AttentionFold("a", (LAST,), T, {}, is_whole=True)
    with torch.no_grad(), observing(model, places, None, fold.take):
        model(tiny_tokens(samples=1, tokens=T), use_cache=False)
    for own in fold._weights.values():
        assert own[T - 1].untyped_storage().nbytes() == 4 * T * 4


def test_received_weight_is_the_mean_over_queries_that_see_the_key():
    model = tiny_llama()
    found, _ = folded(model, whole=True)
    for layer, own in enumerate(maps(model)):
        for key in range(T):
            wanted = own[0, :, key:, key].mean(dim=1).numpy()
            got = found.received[layer, :, key]
            np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


def test_rollout_is_the_product_of_halved_maps_and_sums_to_one():
    model = tiny_llama()
    found, _ = folded(model, whole=True)
    product = np.eye(T)
    for layer, own in enumerate(maps(model)):
        product = (own[0].mean(dim=0).double().numpy() + np.eye(T)) / 2 @ product
        np.testing.assert_allclose(found.rollout[layer], product[-1], atol=1e-6)
        assert found.rollout[layer].sum() == pytest.approx(1)


def test_value_weighted_weights_are_lengths_of_what_heads_write():
    model = tiny_llama()
    found, _ = folded(model, whole=False)
    calls = []
    with (
        torch.no_grad(),
        seeing(model, [place.path for place in find_attention(model)], calls.append),
    ):
        model(tiny_tokens(samples=1, tokens=T), use_cache=False)
    for layer, call in enumerate(calls):
        out = model.model.layers[layer].self_attn.o_proj.weight
        for head in range(4):
            for key in range(T):
                value = call.value[0, head // 2, key]
                written = out[:, 4 * head : 4 * head + 4] @ value
                wanted = found.weights[layer, head, key] * written.norm().item()
                got = found.value_weighted[layer, head, key]
                assert got == pytest.approx(wanted, rel=1e-4, abs=1e-7)
    without, _ = folded(model, whole=False, lengths=False)
    assert without.value_weighted is None


def rows(weights, sink=0.0):
    own = np.array([[weights]], dtype=np.float32)
    return AttentionRows(
        prompt_id="a", query=LAST, weights=own, num_seen=np.array([len(weights)]),
        sink_mass=np.array([[sink]], dtype=np.float32),
    )  # fmt: skip


def test_masses_worked_by_hand():
    own = rows([0.3, 0.0, 0.1, 0.2, 0.05, 0.05, 0.1, 0.0, 0.1], sink=0.1)
    found = attention_numbers(own, prompt())
    assert found.first_mass.item() == pytest.approx(0.3)
    assert found.subject_mass.item() == pytest.approx(0.3)
    assert found.control_mass.item() == pytest.approx(0.1)
    roles = dict(zip(ROLES, found.role_mass[:, 0, 0].tolist(), strict=True))
    assert roles["first subject"] == pytest.approx(0.1)
    assert roles["last subject"] == pytest.approx(0.2)
    assert math.isnan(roles["middle subject"])
    assert roles["last"] == pytest.approx(0.1)


def test_a_subject_that_begins_the_text_leaves_the_first_token_out():
    own = rows([0.5, 0.2, 0.1, 0.0, 0.1, 0.0, 0.0, 0.0, 0.1])
    found = attention_numbers(own, prompt(subject=(0, 2), control=(2, 4)))
    assert found.subject_mass.item() == pytest.approx(0.2)
    alone = attention_numbers(own, prompt(subject=(0, 1), control=(1, 2)))
    assert math.isnan(alone.subject_mass.item())
    none = attention_numbers(own, prompt(subject=None, control=None))
    assert np.isnan([none.subject_mass, none.control_mass]).all()
    assert np.isnan(none.role_mass).all()


def test_sharpness_of_an_even_spread_is_0_and_of_one_token_1():
    even = attention_numbers(rows([1 / T] * T), prompt())
    assert even.sharpness.item() == pytest.approx(0, abs=1e-6)
    sunk = attention_numbers(rows([0.5 / T] * T, sink=0.5), prompt())
    assert sunk.sharpness.item() == pytest.approx(0, abs=1e-6)
    one = attention_numbers(rows([0, 1.0] + [0] * (T - 2)), prompt())
    assert one.sharpness.item() == pytest.approx(1)
