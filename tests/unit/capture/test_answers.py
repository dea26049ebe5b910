"""Is each token of an answer read in its own place, whatever stands beside it?"""

import numpy as np
import pytest
import torch

from driftmap.capture.answers import answer_numbers
from driftmap.capture.losses import sample_losses
from driftmap.core.errors import MeasureError
from driftmap.load.batches import make_batches
from driftmap.results.samples import EncodedSample
from tiny import tiny_llama
from tiny_families import FAMILY_NAMES, tiny_family

PAIRS = [
    ([1, 5, 9], [7]),
    ([1, 5, 9], [7, 11, 3]),
    ([4, 4, 8, 30, 12, 6], [21, 8]),
    ([1], [9, 9]),
]


def encoded(prompt, answer):
    ids = np.array([*prompt, *answer], np.int32)
    return EncodedSample(
        sample_id=str(ids),
        token_ids=ids,
        counted=np.arange(ids.size) >= len(prompt),
        prompt_length=len(prompt),
    )


def batched(pairs, batch_size=4):
    samples = [encoded(*pair) for pair in pairs]
    return make_batches(samples, batch_size=batch_size, pad_id=0)


def one_by_one(model, prompt, answer):
    """Every token of the answer from a plain forward pass over what is before it."""
    ids, nats, is_first = list(prompt), [], True
    for token in answer:
        with torch.no_grad():
            p = model(torch.tensor([ids])).logits[0, -1].double().softmax(0)
        nats.append(-p[token].log().item())
        is_first = is_first and int(p.argmax()) == token
        ids.append(token)
    return sum(nats) / len(nats), is_first


@pytest.mark.parametrize("name", FAMILY_NAMES)
def test_answers_equal_a_loop_of_plain_passes(name):
    model = tiny_family(name).eval()
    found = answer_numbers(model, batched(PAIRS))
    for number, pair in enumerate(PAIRS):
        nll, _ = one_by_one(model, *pair)
        assert found.nll[number] == pytest.approx(nll, rel=1e-4)
    assert found.num_tokens.tolist() == [1, 3, 2, 2]


def test_an_answer_is_first_where_all_of_its_tokens_are():
    model = tiny_llama().eval()
    prompt, answer = [1, 5, 9], []
    for _ in range(3):
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, -1]
        answer.append(int(logits.argmax()))
    wrong = [*answer[:2], (answer[2] + 1) % 40]
    found = answer_numbers(model, batched([(prompt, answer), (prompt, wrong)]))
    assert found.is_first.tolist() == [True, False]
    nll, _ = one_by_one(model, prompt, answer)
    assert found.p[0] == pytest.approx(np.exp(-3 * nll), rel=1e-4)


def test_batches_and_padding_change_nothing():
    model = tiny_family("llama").eval()
    together = answer_numbers(model, batched(PAIRS, 4))
    alone = answer_numbers(model, batched(PAIRS, 1))
    np.testing.assert_allclose(together.nll, alone.nll, rtol=1e-5)
    assert together.is_first.tolist() == alone.is_first.tolist()


def test_the_mean_is_the_loss_of_the_sample():
    model = tiny_family("llama").eval()
    (batch,) = batched(PAIRS)
    with torch.no_grad():
        losses = sample_losses(model, batch).numpy()
    found = answer_numbers(model, (batch,))
    np.testing.assert_allclose(
        found.nll[np.array(batch.sample_index)], losses, rtol=1e-6
    )


def test_weights_that_are_not_finite_are_named_by_the_prompt():
    model = tiny_family("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(torch.nan)
    with pytest.raises(MeasureError, match=r"\[1 5 9 7\]: a logit of its answer is"):
        answer_numbers(model, batched(PAIRS[:1]))


def test_the_mode_comes_back():
    model = tiny_family("llama").train()
    answer_numbers(model, batched(PAIRS[:1]))
    assert model.training
