"""Two models asked the same: equal ones are identical, and every number is a loop's."""

from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from driftmap.load.answers import encode_beginning
from driftmap.load.training_runs import TrainingRun
from driftmap.load.twin import twin
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.behaviour.answering import answers_of
from driftmap.recipes.steps.comparing.behaviour.step import (
    behaviour_at,
    behaviour_step,
    read_behaviour,
)
from driftmap.recipes.steps.comparing.chance import random_change
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.readings import read_readings, readings_step
from driftmap.render.compare_behaviour import behaviour_section
from driftmap.render.compare_readings import readings_section
from driftmap.render.html import html_of
from driftmap.render.page import Page
from driftmap.render.text import text_of
from driftmap.results.facts import Fact
from driftmap.results.probes import Probes
from driftmap.results.samples import Message, Sample
from driftmap.stats.claims.behaviour import behaviour_claims
from driftmap.stats.claims.readings import readings_claims
from driftmap.store.run_dir import RunDir

OPTIONS = BehaviourOptions(max_new_tokens=4, window=16, show=2, num_states=2)


def request(name, asked, answer=""):
    turns = [Message(role="user", content=asked)]
    turns += [Message(role="assistant", content=answer)] if answer else []
    return Sample(id=name, original_id=name, messages=tuple(turns))


PROBES = Probes(
    facts=(
        Fact(id="sky", subject="sky", prompt="The sky is", answer="blue", foil="seven"),
        Fact(id="eight", subject="sky", prompt="See sky is", answer="nine"),
        Fact(id="none", subject="ten", prompt="nine ten"),
        Fact(id="lost", subject="moon", prompt="one two is", answer="three two"),
    ),
    texts=("The sky is blue <b>", "one two three four", "one two three four"),
    harmful=(request("h1", "one two"), request("h2", "three <i>four")),
    harmless=(request("g1", "five six"),),
    held_out=(request("s1", "What is the sky?", "blue"),),
    sources={},
    sha256="a",
)


def moved(loaded, layer=None, part="v_proj", size=0.5):
    """A version of a model with one matrix moved, or none."""
    model = twin(loaded.model)
    if layer is not None:
        module = model.model.layers[layer].get_submodule(f"self_attn.{part}")
        torch.manual_seed(5)
        with torch.no_grad():
            module.weight.data = module.weight + size * torch.randn_like(module.weight)
    identity = replace(loaded.identity, sha256=f"{layer} {part} {size}")
    return replace(loaded, model=model, identity=identity)


@contextmanager
def paired(loaded, tuned, folder):
    run = TrainingRun(folder=folder, checkpoints={1: folder}, is_full=True, state=None)
    with RunDir.open(folder / "run", {"seed": 0}, "compare") as opened:
        study = Study(run=opened, loaded=loaded, seed=0)
        yield Pair(study=study, run=run, tuned=tuned)


def shown(section):
    page = Page(title="t", lead="", sections=[section], footer="")
    return text_of(page), html_of(page)


@pytest.fixture(scope="module")
def changed(loaded, tmp_path_factory):
    """Both steps on a model whose values moved in block 1."""
    with paired(loaded, moved(loaded, 1), tmp_path_factory.mktemp("changed")) as pair:
        behaviour_step(pair, PROBES, OPTIONS)
        readings_step(pair, PROBES, OPTIONS)
        run = pair.study.run
        yield pair, read_behaviour(run), read_readings(run)


@pytest.fixture(scope="module")
def same(loaded, tmp_path_factory):
    with paired(loaded, moved(loaded), tmp_path_factory.mktemp("same")) as pair:
        behaviour_step(pair, PROBES, OPTIONS)
        readings_step(pair, PROBES, OPTIONS)
        run = pair.study.run
        yield pair, read_behaviour(run), read_readings(run)


def naive_log_probs(model, ids):
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    return (logits - logits.exp().sum(1, keepdim=True).log()).numpy()


def test_equal_models_are_identical_and_nothing_is_found(same):
    _, behaviour, readings = same
    assert behaviour.is_identical
    assert readings.is_identical
    assert readings.first_changed is None
    for text in behaviour.texts:
        assert not np.nan_to_num(text.apart.forward).any()
        assert not np.nan_to_num(text.apart.js).any()
    assert all(one.kl_forward == one.kl_backward == 0 for one in behaviour.facts)
    assert all(one.p_value == 1 for one in behaviour.summary.outcomes)
    for mean in readings.means:
        assert not mean.relative.any()
        assert (mean.cosine == 1).all()
    claims = *behaviour_claims(behaviour), *readings_claims(readings)
    assert [one.standing for one in claims] == ["not-found", "not-found"]
    assert "identical" in claims[0].says
    text, _ = shown(behaviour_section(behaviour))
    assert "(2 texts, 3 facts, 3 requests, 1 held-out samples)" in text
    assert "KL" not in text


def test_every_number_of_texts_and_facts_is_a_naive_loops(changed, loaded):
    pair, found, _ = changed
    models = pair.base.model, pair.tuned.model
    for text in found.texts:
        p, q = (naive_log_probs(m, text.spelled.token_ids.tolist()) for m in models)
        kl = (np.exp(p) * (p - q)).sum(1)[:-1]
        back = (np.exp(q) * (q - p)).sum(1)[:-1]
        np.testing.assert_allclose(text.apart.forward[1:], kl, rtol=1e-3, atol=1e-7)
        np.testing.assert_allclose(text.apart.backward[1:], back, rtol=1e-3, atol=1e-7)
        assert (text.apart.forward[1:] > 0).all()
    sky = found.facts[0]
    prompt = loaded.tokenizer("The sky is")["input_ids"]
    for words, readings in (
        ("blue", (sky.answer_before, sky.answer_after)),
        ("seven", (sky.foil_before, sky.foil_after)),
    ):
        whole = loaded.tokenizer(f"The sky is {words}")["input_ids"]
        for model, reading in zip(models, readings, strict=True):
            log_p = naive_log_probs(model, whole)
            wanted = [log_p[n - 1, whole[n]] for n in range(len(prompt), len(whole))]
            assert reading.nll_nats == pytest.approx(-np.mean(wanted), abs=1e-5)
            assert reading.log_p == pytest.approx(wanted[0], abs=1e-5)
            row = log_p[len(prompt) - 1]
            assert reading.rank == int((row > row[whole[len(prompt)]] + 1e-9).sum())
    assert found.facts[1].foil_before is None
    assert found.left_out == {
        "facts without an answer": 1,
        "texts that were given before": 1,
    }


def test_one_model_alone_gives_the_steps_own_numbers(changed):
    pair, found, _ = changed
    point = behaviour_at(pair, pair.tuned, PROBES, OPTIONS)
    base = behaviour_at(pair, pair.base, PROBES, OPTIONS)
    assert not base.kl.any()
    assert np.array_equal(
        point.kl, [one.apart.forward[one.first :].mean() for one in found.texts]
    )
    assert point.answer_nll.tolist() == [f.answer_after.nll_nats for f in found.facts]
    assert base.answer_nll.tolist() == [f.answer_before.nll_nats for f in found.facts]
    assert np.isnan(point.foil_nll).tolist() == [False, True, True]
    assert point.refused_harmful.tolist() == [o.refused_after for o in found.harmful]
    assert (point.harmful, point.harmless) == (("h1", "h2"), ("g1",))
    assert point.right.tolist() == [one.right_after for one in found.held_out]


def test_a_change_of_values_in_block_1_moves_values_there_and_nothing_before(changed):
    pair, _, found = changed
    assert found.first_changed == 1
    for states in found.states:
        assert not states.values.relative[0].any()
        assert states.values.relative[1].all()
        assert not states.keys.relative.any()  # they come from the block's input
        assert not states.hidden.relative[0].any()
        assert (states.keys.cosine == 1).all()
    claims = readings_claims(found)
    assert (claims[0].standing, claims[0].layers) == ("found", (1,))
    assert "Before block 1 every hidden state" in claims[0].says
    one = found.states[0]
    ids = found.texts[0].spelled.token_ids
    held = [
        model(input_ids=torch.from_numpy(ids)[None], use_cache=True).past_key_values
        for model in (pair.base.model, pair.tuned.model)
    ]
    before, after = (cache.layers[1].values[0].double() for cache in held)
    moved = (after - before).norm(dim=-1) / before.norm(dim=-1)
    np.testing.assert_allclose(one.values.relative[1], moved.detach(), rtol=1e-4)
    turned = torch.nn.functional.cosine_similarity(before, after, dim=-1)
    np.testing.assert_allclose(one.values.cosine[1], turned.detach(), atol=1e-6)
    shape = found.cache[0]
    assert (shape.num_heads, shape.is_same) == (before.shape[0], True)
    assert shape.bytes_per_token == 2 * 4 * before.shape[0] * before.shape[2]


def test_the_lens_at_the_last_block_is_the_model(changed):
    _, behaviour, found = changed
    for lens, fact in zip(found.lenses, behaviour.facts, strict=False):
        last = lens.answer_p[:, -1]
        wanted = [np.exp(fact.answer_before.log_p), np.exp(fact.answer_after.log_p)]
        np.testing.assert_allclose(last, wanted, atol=1e-5)
        assert lens.answer_p[0, 0] == lens.answer_p[1, 0]  # block 0 is the base's


def test_a_random_change_is_as_long_and_of_the_same_matrices(changed, loaded):
    pair, _, found = changed
    before = {n: w.clone() for n, w in loaded.model.state_dict().items()}
    other = random_change(pair)
    for name, weight in other.model.state_dict().items():
        own = pair.tuned.model.state_dict()[name]
        length = float((own - before[name]).norm())
        assert float((weight - before[name]).norm()) == pytest.approx(length, rel=1e-4)
        assert torch.equal(loaded.model.state_dict()[name], before[name])
    by_source = {one.source for one in found.means}
    assert by_source == {"tuned", "chance"}
    one, two = (random_change(pair).model.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_pages_and_claims_carry_the_numbers_and_escape_what_data_says(changed):
    _, behaviour, readings = changed
    text, html = shown(behaviour_section(behaviour))
    assert "KL base to tuned" in text
    assert "of 2 harmful requests are answered otherwise" in text
    assert "three <i>four" not in html
    assert "&lt;" in html
    says = " ".join(one.says for one in behaviour_claims(behaviour))
    forward = behaviour.summary.texts.forward
    assert f"{forward.estimate:.3g} nats per token" in says
    assert "2 texts" in says
    assert "held-out accuracy (+0 points, a single one, no interval)" in says
    assert "a random change of the same size per matrix gives" in says
    text, html = shown(readings_section(readings))
    assert "Before block 1 every hidden state" in text
    assert "2301.04213" in text
    assert "Keys and values by layer and head" in text


def test_no_answer_outgrows_what_the_model_reads(loaded):
    prompt = encode_beginning("long", "seven " * 124 + "is", loaded.tokenizer)
    room = loaded.context_length - prompt.token_ids.size
    assert 0 < room < OPTIONS.max_new_tokens
    (answer,) = answers_of(loaded, [prompt], OPTIONS)
    assert len(answer.token_ids) <= room


def test_requests_of_two_files_may_share_their_ids(loaded, tmp_path):
    harmful, harmless = request("test:0", "one two"), request("test:0", "five six")
    probes = replace(PROBES, harmful=(harmful,), harmless=(harmless,))
    with paired(loaded, moved(loaded), tmp_path) as pair:
        behaviour_step(pair, probes, OPTIONS)
        found = read_behaviour(pair.study.run)
    assert [one.prompt for one in (*found.harmful, *found.harmless)] == [
        harmful.prompt,
        harmless.prompt,
    ]


def test_what_was_read_is_kept_and_not_read_again(changed, monkeypatch):
    pair, _, _ = changed
    monkeypatch.setattr(
        "driftmap.recipes.steps.comparing.behaviour.step.asked_of", pytest.fail
    )
    assert not behaviour_step(pair, PROBES, replace(OPTIONS, batch_size=1)).redone


def test_nothing_asked_reads_as_nothing(loaded, tmp_path):
    nothing = Probes(sources={}, sha256="b")
    with paired(loaded, moved(loaded, 0), tmp_path) as pair:
        assert read_behaviour(pair.study.run) is None
        assert read_readings(pair.study.run) is None
        behaviour_step(pair, nothing, OPTIONS)
        found = read_behaviour(pair.study.run)
        assert not found.summary.outcomes
        assert found.summary.texts is None
        readings_step(pair, nothing, OPTIONS)
        assert not read_readings(pair.study.run).means
