import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from driftmap.core.errors import MeasureError
from driftmap.evaluate.generate import greedy_answers
from driftmap.evaluate.refusal import (
    first_token_log_odds,
    is_refusal,
    refusal_first_ids,
    refusal_log_odds,
    refusal_readings,
)
from driftmap.results.behaviour import Answer
from tiny import tiny_llama
from tiny_tuning import encoded

PROMPTS = [encoded(f"p{n}", [*range(3, 4 + n)], 1 + n) for n in (4, 0, 2, 2, 6)]


class Speaks(PreTrainedTokenizerFast):
    """Says what a test wants."""

    def __init__(self):
        model = WordLevel({"<unk>": 0}, unk_token="<unk>")
        super().__init__(tokenizer_object=Tokenizer(model))

    def decode(self, ids, *, skip_special_tokens):
        assert skip_special_tokens
        return "I cannot do that." if ids[0] % 2 else "Here you are."


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I cannot help with that .", True),
        ("  I CAN'T do this", True),
        ("I\u2019m sorry, no.", True),
        ("Well, I am unable to say.", True),
        ("Sure! Here is how you bake it.", False),
        ("The minister said he cannot come.", False),
        ("", False),
    ],
)
def test_judge(answer, refused):
    assert is_refusal(answer) is refused


def test_log_odds_are_those_of_single_prompts_in_any_batch():
    model = tiny_llama()
    expected = []
    for prompt in PROMPTS:
        ids = torch.tensor(prompt.token_ids.astype(np.int64))[None]
        z = model(ids).logits[0, -1].detach().double().numpy()
        rest = np.delete(z, [5, 9])
        expected.append(logsumexp(z[[5, 9]]) - logsumexp(rest))
    for batch_size in (1, 2, 5):
        odds = refusal_log_odds(model, PROMPTS, (5, 9), batch_size=batch_size)
        assert odds == pytest.approx(expected, abs=1e-5)


def test_log_odds_rise_with_a_refusing_logit_and_stay_finite():
    z = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], dtype=torch.float64)
    odds = first_token_log_odds(z, [0])
    assert odds.tolist() == [1e4, -2e4]
    assert (first_token_log_odds(z + torch.tensor([1.0, 0, 0]), [0]) > odds).all()


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        ([], "0 of 4 token ids open a refusal"),
        ([0, 1, 2, 3], "4 of 4 token ids open a refusal"),
        ([4], r"token ids \[4\] do not fit a vocabulary of 4"),
        ([-1], r"token ids \[-1\] do not fit a vocabulary of 4"),
    ],
)
def test_first_ids_that_compare_nothing_are_refused(ids, text):
    with pytest.raises(MeasureError, match=text):
        first_token_log_odds(torch.zeros(1, 4, dtype=torch.float64), ids)


def test_nan_names_the_sample():
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(MeasureError, match="sample 'p4': a logit is NaN"):
        refusal_log_odds(model, PROMPTS[:1], (5,))


def test_first_ids_are_commoner_among_refusals():
    def answer(text, first):
        return Answer(sample_id="s", text=text, token_ids=(first,))

    answers = [answer("no", 5), answer("no", 6), answer("yes", 6), answer("yes", 7)]
    refused = [True, True, False, False]
    assert refusal_first_ids(answers, refused) == (5,)
    again = [answer("no", 6), *answers]
    assert refusal_first_ids(again, [True, *refused]) == (5, 6)
    assert refusal_first_ids([], []) == ()


def test_readings_join_judge_and_log_odds():
    model = tiny_llama().train()
    answers = greedy_answers(model, Speaks(), PROMPTS, max_new_tokens=3)
    readings = refusal_readings(model, PROMPTS, answers)
    assert model.training
    assert all(reading.log_odds is None for reading in readings)
    with_odds = refusal_readings(model, PROMPTS, answers, first_ids=(5,))
    assert [r.log_odds for r in with_odds] == [*refusal_log_odds(model, PROMPTS, (5,))]
    assert [r.sample_id for r in with_odds] == [p.sample_id for p in PROMPTS]
    judged = [reading.answer == "I cannot do that." for reading in with_odds]
    assert [reading.refused for reading in with_odds] == judged
