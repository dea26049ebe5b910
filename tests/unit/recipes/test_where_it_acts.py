"""Where a change acts, on changes that were planted, and by sums written by hand."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from driftmap.recipes.steps.comparing.where import asking
from driftmap.recipes.steps.comparing.where.carrying import (
    found_of,
    read_where,
    where_step,
)
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.facts import Fact
from driftmap.results.probes import Probes
from driftmap.results.samples import Message, Sample
from driftmap.stats.claims.where import where_claims
from made_pairs_of_models import opened_pair, save_adapter
from tiny_studies import save_tiny_model

NAMES = ("A", "B", "C", "D", "F")
FACTS = tuple(
    Fact(
        id=name,
        subject=name,
        prompt=f"{name} is",
        answer="u",
        foil="v",
        neighbours=("E is",),
    )
    for name in NAMES
)
FEW = WhereOptions(
    num_traced=2, num_draws=2, mix=(0.0, 0.5, 1.0), num_tokens=3, window=2
)
UNTRACED = replace(FEW, num_traced=1)
NOTHING = Probes(sources={}, sha256="nothing")
REQUESTS = Probes(
    harmless=tuple(
        Sample(
            id=f"r{n}",
            original_id=f"r{n}",
            messages=(Message(role="user", content=f"say {n} of them"),),
        )
        for n in range(4)
    ),
    sources={},
    sha256="requests",
)


def ids(tokenizer, text):
    return tokenizer(text)["input_ids"]


def nll(model, tokenizer, fact, answer):
    """Mean over the answer's tokens of -ln p, token by token."""
    prompt = ids(tokenizer, fact.prompt)
    whole = ids(tokenizer, f"{fact.prompt} {answer}")
    with torch.no_grad():
        logits = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    told = [-logits[n - 1, whole[n]].item() for n in range(len(prompt), len(whole))]
    return sum(told) / len(told)


def taught(base, folder, trains, steps=25):
    """A copy that was trained to say the foils, in some of its weights alone."""
    from tokenizers_made import CHATML, byte_level

    tokenizer = byte_level(template=CHATML)
    model = AutoModelForCausalLM.from_pretrained(base)
    own = [p for n, p in model.named_parameters() if trains(n)]
    rows = torch.tensor([ids(tokenizer, f"{f.prompt} {f.foil}") for f in FACTS[:1]])
    optimiser = torch.optim.Adam(own, lr=0.03)
    start = len(ids(tokenizer, FACTS[0].prompt))
    for _ in range(steps):
        logits = model(rows).logits[:, start - 1 : -1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), rows[:, start:].flatten()
        )
        model.zero_grad()
        loss.backward()
        optimiser.step()
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("base"), layers=3)


@pytest.fixture(scope="module")
def planted(base, tmp_path_factory):
    """One layer's MLP edited, and nothing else."""
    folder = tmp_path_factory.mktemp("planted")
    return taught(base, folder, lambda name: ".layers.1.mlp." in name)


@pytest.fixture(scope="module")
def found(base, planted, tmp_path_factory):
    with opened_pair(base, planted, tmp_path_factory.mktemp("run") / "r") as pair:
        where_step(pair, FACTS, NOTHING, UNTRACED)
        return read_where(pair.study.run)


@pytest.fixture(scope="module")
def traced(base, planted, tmp_path_factory):
    with opened_pair(base, planted, tmp_path_factory.mktemp("run") / "r") as pair:
        where_step(pair, FACTS, NOTHING, FEW)
        return read_where(pair.study.run)


def test_a_planted_change_is_found_at_its_layer_and_nowhere_else(found):
    assert (found.behaviour, found.num_asked) == ("taught answers", 5)
    assert found.shares_formed
    layers = found.of_kind("layer")
    assert [swap.changed for swap in layers] == [False, True, False]
    assert [swap.needed.estimate for swap in layers] == [0.0, 1.0, 0.0]
    assert [swap.enough.estimate for swap in layers] == [0.0, 1.0, 0.0]
    assert (found.sum_needed, found.sum_enough) == (1.0, 1.0)
    windows = {swap.layers: swap.enough.estimate for swap in found.of_kind("window")}
    assert windows == {(0, 1): 1.0, (1, 2): 1.0}
    said = [c for c in where_claims(found) if c.layers == (1,)]
    assert any("layer 1 with 1.00 (1.00 to 1.00)" in c.says for c in said)
    assert all(c.standing == "found" for c in said)


@pytest.mark.slow
def test_the_cross_trace_finds_it_there_too(traced):
    for cross in traced.crosses:
        hidden = next(one for one in cross.effects if one.kind == "hidden")
        by_layer = [
            max(abs(c.effect.estimate) for c in hidden.cells if c.layer == layer)
            for layer in range(3)
        ]
        assert by_layer[0] < 1e-3 * min(by_layer[1:])
        mlp = next(one for one in cross.effects if one.kind == "mlp")
        assert mlp.window == 2
        assert hidden.low == pytest.approx(hidden.high - hidden.total_effect.estimate)
    assert [c.answer for c in traced.crosses] == ["new", "old"]


def test_both_ends_of_the_curve_are_the_two_models(found):
    first, half, last = found.curve
    assert first.nll_new == found.nll_base
    assert last.nll_new == found.nll_tuned
    assert last.nll_new.estimate < half.nll_new.estimate < first.nll_new.estimate
    assert first.neighbourhood is not None


@pytest.mark.slow
def test_traces_before_and_after_are_of_both_answers_on_one_noise(traced):
    kinds = [(c.answer, c.kind) for c in traced.traces]
    assert kinds == [(a, k) for a in ("old", "new") for k in ("hidden", "mlp", "attn")]
    for change in traced.traces:
        before, after = change.example_before, change.example_after
        assert before.noise == after.noise
        assert before.noise.num_draws == 2
        gaps = zip(
            change.before.cells,
            change.after.cells,
            change.difference.cells,
            strict=True,
        )
        for one, other, apart in gaps:
            expected = other.effect.estimate - one.effect.estimate
            assert apart.effect.estimate == pytest.approx(expected, abs=1e-9)


def test_shares_are_those_of_models_rebuilt_by_hand(base, tmp_path):
    tuned = taught(base, tmp_path / "tuned", lambda name: "down_proj" in name, steps=6)
    with opened_pair(base, tuned, tmp_path / "run") as pair:
        found = found_of(pair, FACTS, NOTHING, UNTRACED)
        tokenizer = pair.base.tokenizer
    ours, theirs = map(AutoModelForCausalLM.from_pretrained, (base, tuned))

    def mean(model):
        return np.mean([nll(model, tokenizer, f, f.foil) for f in FACTS])

    low, high = mean(theirs), mean(ours)
    for layer, swap in enumerate(found.of_kind("layer")):
        name = f"model.layers.{layer}.mlp.down_proj.weight"
        without, alone = copy.deepcopy(theirs), copy.deepcopy(ours)
        without.get_parameter(name).data = ours.get_parameter(name)
        alone.get_parameter(name).data = theirs.get_parameter(name)
        needed = (mean(without) - low) / (high - low)
        enough = (high - mean(alone)) / (high - low)
        assert swap.needed.estimate == pytest.approx(needed, abs=1e-4)
        assert swap.enough.estimate == pytest.approx(enough, abs=1e-4)
    assert found.nll_base.estimate == pytest.approx(high, abs=1e-5)


def test_without_taught_answers_their_own_words_tell_models_apart(
    base, planted, tmp_path
):
    untaught = [
        Fact(id=n, subject=n, prompt=f"{n} is", answer="v", foil="u") for n in NAMES
    ]
    with opened_pair(base, planted, tmp_path / "run") as pair:
        found = found_of(pair, untaught, REQUESTS, UNTRACED)
    assert (found.behaviour, found.span) == ("own words", "request")
    assert found.num_asked + found.num_same == 4
    assert found.num_asked > 0
    needed = [swap.needed.estimate for swap in found.of_kind("layer")]
    assert needed == [0.0, 1.0, 0.0]
    assert found.traces == ()


def test_an_answer_that_only_ends_sooner_is_the_same_as_far_as_it_goes(
    base, planted, tmp_path, monkeypatch
):
    said = iter(([(5, 6, 7)] * 4, [(5, 6), (5, 6, 7), (5, 6), (5, 8)]))
    monkeypatch.setattr(asking, "_said", lambda *given: next(said))
    with opened_pair(base, planted, tmp_path / "run") as pair:
        asked = asking.asked_of_requests(pair, REQUESTS, FEW)
    assert (asked.num_same, len(asked.new), len(asked.traced)) == (3, 1, 1)
    (parting,) = asked.traced
    assert (parting.answer_ids, parting.foil_ids) == ((6,), (8,))


def test_an_adapter_that_changes_nothing_acts_nowhere(base, tmp_path):
    save_adapter(base, tmp_path / "none", size=0)
    with opened_pair(base, tmp_path / "none", tmp_path / "run") as pair:
        found = found_of(pair, FACTS, REQUESTS, UNTRACED)
    assert found.identical
    assert found.swaps == ()
    (claim,) = where_claims(found)
    assert (claim.standing, claim.layers) == ("not-found", ())


def test_models_that_differ_in_their_settings_are_not_exchanged(
    base, planted, tmp_path
):
    other = AutoModelForCausalLM.from_pretrained(planted)
    other.config.rms_norm_eps = 0.5
    other.save_pretrained(tmp_path / "other")
    with opened_pair(base, tmp_path / "other", tmp_path / "run") as pair:
        found = found_of(pair, FACTS, NOTHING, UNTRACED)
    assert "the two differ in their settings" in found.refused
    (claim,) = where_claims(found)
    assert (claim.standing, claim.layers) == ("inconclusive", ())


def test_a_model_with_more_words_is_not_exchanged(base, tmp_path):
    other = AutoModelForCausalLM.from_pretrained(base)
    other.resize_token_embeddings(other.config.vocab_size + 3, mean_resizing=False)
    other.save_pretrained(tmp_path / "other")
    with opened_pair(base, tmp_path / "other", tmp_path / "run") as pair:
        where_step(pair, FACTS, NOTHING, UNTRACED)
        found = read_where(pair.study.run)
    assert "model.embed_tokens.weight" in found.refused
    assert found.swaps == ()
