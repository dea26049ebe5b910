"""Outcomes without generation: by hand, alone and in company, and refusals."""

import numpy as np
import pytest
import torch

from driftmap.core.errors import DataError, MeasureError
from driftmap.evaluate import refusal_odds
from driftmap.evaluate.refusal import refusal_log_odds
from driftmap.evaluate.refusal_odds import (
    OutcomeSamples,
    example_outcomes,
    opening_ids,
    opening_log_odds,
    response_nats,
)
from driftmap.results.samples import EncodedSample
from laws.restores import assert_restores_model
from tiny_experts import VOCAB, tiny_moe

FIRST = (5, 9)


def encoded(name, length, responding=0, seed=0):
    ids = np.random.default_rng([seed, length]).integers(3, VOCAB, length)
    return EncodedSample(
        sample_id=name,
        token_ids=ids.astype(np.int32),
        counted=np.arange(length) >= length - responding,
        prompt_length=length - responding,
    )


@pytest.fixture(scope="module")
def model():
    return tiny_moe("olmoe")


def log_p(model, sample):
    ids = torch.from_numpy(sample.token_ids.astype("i8"))[None]
    with torch.no_grad():
        return model(input_ids=ids).logits[0].double().log_softmax(1)


def test_log_odds_are_those_of_all_probabilities(model):
    prompt = encoded("a", 6)
    (found,) = opening_log_odds(model, [prompt], FIRST)
    p = log_p(model, prompt)[-1].exp()
    refusing = p[list(FIRST)].sum()
    assert found == pytest.approx((refusing / (1 - refusing)).log().item(), abs=1e-5)


def test_log_odds_are_those_of_whole_logits(model):
    prompts = [encoded("a", 6), encoded("b", 3), encoded("c", 6, seed=1)]
    found = opening_log_odds(model, prompts, FIRST)
    assert found == pytest.approx(refusal_log_odds(model, prompts, FIRST), abs=1e-5)


def test_nats_are_means_over_the_response(model):
    sample = encoded("a", 7, responding=3)
    p = log_p(model, sample)
    by_hand = -np.mean([p[t - 1, sample.token_ids[t]].item() for t in (4, 5, 6)])
    assert response_nats(model, [sample]) == pytest.approx((by_hand,), abs=1e-5)


def test_company_and_padding_change_nothing(model):
    many = [encoded(str(n), 3 + n, responding=1 + n % 2) for n in range(5)]
    prompts = [encoded(str(n), 3 + n) for n in range(5)]
    for batch_size in (1, 2, 5):
        nats = response_nats(model, many, batch_size=batch_size)
        odds = opening_log_odds(model, prompts, FIRST, batch_size=batch_size)
        alone = [response_nats(model, [one])[0] for one in many]
        first = [opening_log_odds(model, [one], FIRST)[0] for one in prompts]
        assert nats == pytest.approx(alone, abs=2e-6)
        assert odds == pytest.approx(first, abs=2e-6)


def test_long_responses_are_read_in_pieces(model, monkeypatch):
    many = [encoded(str(n), 9, responding=5, seed=n) for n in range(3)]
    whole = response_nats(model, many)
    monkeypatch.setattr(refusal_odds, "_TOKENS_AT_A_TIME", 2)
    assert response_nats(model, many) == whole


def test_the_head_runs_only_where_it_is_asked(model):
    seen = []
    handle = model.lm_head.register_forward_hook(
        lambda _m, args, _o: seen.append(args[0].shape[1])
    )
    prompts = [encoded("a", 8), encoded("b", 8, seed=1)]
    opening_log_odds(model, prompts, FIRST)
    response_nats(model, [encoded("c", 12, responding=4)])
    handle.remove()
    assert seen == [1, 4]


def test_a_model_that_keeps_all_logits_is_read_the_same(model, monkeypatch):
    prompts = [encoded("a", 6), encoded("b", 3)]
    few = opening_log_odds(model, prompts, FIRST)
    monkeypatch.setattr(refusal_odds, "_keeps_some", lambda _model: False)
    assert opening_log_odds(model, prompts, FIRST) == pytest.approx(few, abs=1e-6)


def test_all_outcomes_at_once(model):
    samples = OutcomeSamples(
        prompts=[encoded("a", 5), encoded("b", 4)],
        first_ids=FIRST,
        refusals=[encoded("b", 7, responding=3)],
        answers=[encoded("b", 6, responding=2)],
        benign=[encoded("x", 5, responding=2)],
    )
    with assert_restores_model(model.train()):
        found = example_outcomes(model, samples)
    assert found.unsafe_ids == ("a", "b")
    assert (found.margin_ids, found.benign_ids) == (("b",), ("x",))
    (refusal,) = response_nats(model, samples.refusals)
    (answer,) = response_nats(model, samples.answers)
    assert found.margins == pytest.approx((answer - refusal,))
    assert found.benign_nats == response_nats(model, samples.benign)
    model.eval()


def test_without_answers_there_is_no_margin(model):
    found = example_outcomes(
        model, OutcomeSamples(prompts=[encoded("a", 5)], first_ids=FIRST)
    )
    assert (found.margins, found.benign_nats) == ((), ())


def test_first_tokens_of_refusals():
    refusals = [encoded("a", 6, responding=2), encoded("b", 6, responding=2)]
    other = encoded("c", 5, responding=4)
    wanted = {int(refusals[0].token_ids[4]), int(other.token_ids[1])}
    assert opening_ids([*refusals, other]) == tuple(sorted(wanted))


def test_what_cannot_be_read_is_refused(model):
    with pytest.raises(DataError, match="there is no refusal to take first tokens"):
        opening_ids([])
    with pytest.raises(DataError, match="sample 'a': the refusal has no token"):
        opening_ids([encoded("a", 5)])
    with pytest.raises(DataError, match="sample 'a': no token counts"):
        response_nats(model, [encoded("a", 5)])
    one = encoded("a", 5, responding=2)
    lone = OutcomeSamples(prompts=[one], first_ids=FIRST, refusals=[one])
    with pytest.raises(DataError, match="1 refusals and 0 unsafe answers"):
        example_outcomes(model, lone)
    with pytest.raises(MeasureError, match="0 of 40 token ids open a refusal"):
        opening_log_odds(model, [encoded("a", 5)], ())


def test_a_nan_is_named():
    broken = tiny_moe("olmoe")
    with torch.no_grad():
        broken.lm_head.weight[7] = torch.nan
    sample = encoded("s3", 5, responding=2)
    for read in (
        lambda: response_nats(broken, [sample]),
        lambda: opening_log_odds(broken, [sample], FIRST),
    ):
        with pytest.raises(MeasureError, match="sample 's3': a logit is NaN"):
            read()
