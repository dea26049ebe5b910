import math

import numpy as np
import pytest
import torch

from driftmap.core.errors import DataError, MeasureError
from driftmap.evaluate.perplexity import text_perplexity
from driftmap.results.perplexity import EncodedText
from tiny import tiny_llama


def text(num_tokens, *, vocab=40, seed=0):
    ids = np.random.default_rng(seed).integers(3, vocab, num_tokens)
    return EncodedText(
        name="made up", token_ids=ids, byte_ends=np.arange(1, num_tokens + 1) * 3
    )


@pytest.mark.parametrize("window", [2, 5, 16])
@pytest.mark.parametrize("vocab", [40, 77])
def test_uniform_model_has_the_perplexity_of_its_vocabulary_for_any_window(
    window, vocab
):
    model = tiny_llama(vocab=vocab)
    model.lm_head.weight.data.zero_()
    reading = text_perplexity(model, text(53, vocab=vocab), window)
    assert reading.perplexity == pytest.approx(vocab, rel=1e-6)
    # Three bytes a token.
    assert reading.bits_per_byte == pytest.approx(math.log2(vocab) / 3, rel=1e-6)


def test_agrees_with_one_token_at_a_time():
    model, made = tiny_llama(), text(38)
    nll = []
    for first in range(0, 35 - 7 + 1, 7):
        window = made.token_ids[first : first + 7].tolist()
        for place in range(1, 7):
            z = model(torch.tensor([window[:place]])).logits[0, -1].detach().double()
            nll.append(z.logsumexp(0).item() - z[window[place]].item())
    reading = text_perplexity(model, made, 7)
    assert reading.perplexity == pytest.approx(math.exp(np.mean(nll)), rel=1e-5)
    assert reading.num_predicted == len(nll) == 30
    assert (reading.num_windows, reading.num_dropped) == (5, 3)
    assert reading.num_bytes == 30 * 3


def test_tail_that_fills_no_window_counts_for_nothing():
    model, made = tiny_llama(), text(38)
    whole = EncodedText(
        name="cut", token_ids=made.token_ids[:35], byte_ends=made.byte_ends[:35]
    )
    some, other = (text_perplexity(model, t, 7) for t in (made, whole))
    assert some.nll_nats.tolist() == other.nll_nats.tolist()
    assert some.num_bytes == other.num_bytes


@pytest.mark.parametrize("batch_size", [2, 3, 64])
def test_batches_change_nothing(batch_size):
    model, made = tiny_llama(), text(90)
    one = text_perplexity(model, made, 8)
    many = text_perplexity(model, made, 8, batch_size=batch_size)
    np.testing.assert_allclose(many.nll_nats, one.nll_nats, rtol=1e-6)


def test_model_is_left_in_its_mode():
    model = tiny_llama().train()
    text_perplexity(model, text(10), 5)
    assert model.training


def test_long_windows_are_read_in_pieces_of_the_logits(monkeypatch):
    model, made = tiny_llama(), text(60)
    whole = text_perplexity(model, made, 30)
    monkeypatch.setattr("driftmap.evaluate.perplexity._TOKENS_AT_A_TIME", 4)
    pieces = text_perplexity(model, made, 30)
    np.testing.assert_allclose(pieces.nll_nats, whole.nll_nats, rtol=1e-6)


def test_text_that_fills_no_window_is_refused():
    with pytest.raises(
        DataError,
        match="made up: its 6 tokens do not fill one window of 7; give a shorter "
        "window or a longer text",
    ):
        text_perplexity(tiny_llama(), text(6), 7)


def test_window_that_predicts_nothing_is_refused():
    with pytest.raises(MeasureError, match="a window of 1 tokens predicts none"):
        text_perplexity(tiny_llama(), text(6), 1)


def test_nan_is_never_a_perplexity():
    model = tiny_llama()
    model.lm_head.weight.data[4] = float("nan")
    with pytest.raises(MeasureError, match="made up: a logit is NaN or infinite"):
        text_perplexity(model, text(6), 6)
