"""Readings of tokens against hand-worked numbers, a naive loop and their laws."""

import math

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from driftmap.capture import gathered
from driftmap.capture.readings import (
    Windows,
    drawing,
    greedy,
    read_tokens,
    read_while_writing,
)
from driftmap.core.errors import MeasureError, UsageError
from tiny import tiny_llama
from tiny_families import VOCAB, tiny_family

WHOLE = Windows(window=64, stride=8)


def ids(*, num: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, VOCAB, num)


def uniform_llama():
    model = tiny_llama()
    with torch.no_grad():
        model.lm_head.weight.zero_()
    return model


def saying(logits: list[float]):
    """A model of which every position gives the same logits, one per token id."""
    model = tiny_llama(vocab=len(logits))
    last = torch.tensor(logits)

    def always(_module, _inputs, output):
        return last.expand_as(output).clone()

    model.lm_head.register_forward_hook(always)
    return model


def naive(model, tokens) -> list[tuple[float, float, int]]:
    """Token by token, each from a pass of its own over what stands before it."""
    found = []
    for place in range(1, len(tokens)):
        logits = model(torch.tensor([list(tokens[:place])])).logits[0, -1].double()
        p = [math.exp(z) for z in (logits - logits.max()).tolist()]
        p = [one / sum(p) for one in p]
        own = p[int(tokens[place])]
        entropy = -sum(one * math.log(one) for one in p)
        found.append((-math.log(own), entropy, sum(one > own for one in p)))
    return found


def assert_same(found, wanted, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(found.surprise, wanted.surprise, atol=tolerance)
    np.testing.assert_allclose(found.entropy, wanted.entropy, atol=tolerance)
    np.testing.assert_array_equal(found.rank, wanted.rank)
    np.testing.assert_allclose(found.top_p, wanted.top_p, atol=tolerance)


def test_two_tokens_worked_by_hand():
    # p = (1/4, 3/4): ln 4 and ln 4/3; entropy ln 4 - 3/4 ln 3.
    (found,) = read_tokens(
        saying([0.0, math.log(3)]), [np.array([0, 1, 0])], WHOLE, num_top=2
    )
    np.testing.assert_allclose(found.surprise[1:], [math.log(4 / 3), math.log(4)], 1e-6)
    np.testing.assert_allclose(
        found.entropy[1:], math.log(4) - 0.75 * math.log(3), 1e-6
    )
    assert found.rank.tolist() == [-1, 0, 1]
    assert found.top_ids.tolist() == [[-1, -1], [1, 0], [1, 0]]
    np.testing.assert_allclose(found.top_p[1:], [[0.75, 0.25]] * 2, 1e-6)
    assert np.isnan([found.surprise[0], found.entropy[0], *found.top_p[0]]).all()


@pytest.mark.parametrize("window", [2, 5, 64])
def test_a_uniform_model_is_as_surprised_as_it_is_unsure(window):
    windows = Windows(window=window, stride=1)
    (found,) = read_tokens(uniform_llama(), [ids(num=11)], windows)
    np.testing.assert_allclose(found.surprise[1:], math.log(VOCAB), 1e-6)
    np.testing.assert_allclose(found.entropy[1:], math.log(VOCAB), 1e-6)
    assert found.rank[1:].tolist() == [0] * 10


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "bloom", "cohere"])
def test_one_pass_is_the_naive_loop(name):
    model, tokens = tiny_family(name), ids(num=9)
    (found,) = read_tokens(model, [tokens], WHOLE)
    with torch.no_grad():
        surprise, entropy, rank = zip(*naive(model, tokens), strict=True)
    np.testing.assert_allclose(found.surprise[1:], surprise, atol=1e-5)
    np.testing.assert_allclose(found.entropy[1:], entropy, atol=1e-5)
    assert found.rank[1:].tolist() == list(rank)


def test_no_entropy_is_above_that_of_the_uniform_one_and_rank_0_is_the_argmax():
    (found,) = read_tokens(tiny_llama(), [tokens := ids(num=40)], WHOLE)
    assert (found.entropy[1:] <= math.log(VOCAB) + 1e-6).all()
    assert (found.entropy[1:] >= 0).all()
    first = found.top_ids[1:, 0] == tokens[1:]
    np.testing.assert_array_equal(found.rank[1:] == 0, first)


def test_batches_and_padding_change_nothing():
    model = tiny_llama()
    texts = [ids(num=n, seed=n) for n in (3, 17, 1, 9)]
    alone = [read_tokens(model, [text], WHOLE)[0] for text in texts]
    together = read_tokens(model, texts, WHOLE, batch_size=3)
    for found, wanted in zip(together, alone, strict=True):
        assert_same(found, wanted)


def test_each_token_of_a_long_text_is_read_in_one_window_with_context_enough():
    model, tokens = tiny_llama(), ids(num=23)
    (found,) = read_tokens(model, [tokens], Windows(window=8, stride=3), batch_size=2)
    for place in range(1, 23):
        # Windows begin at 0, 5, 10, 15; each but the first counts from its 4th token.
        start = 0 if place < 8 else 5 * ((place - 3) // 5)
        assert place - start >= 3 or start == 0
        (wanted,) = read_tokens(model, [tokens[start : place + 1]], WHOLE)
        assert found.surprise[place] == pytest.approx(wanted.surprise[-1], abs=1e-5)
        assert found.entropy[place] == pytest.approx(wanted.entropy[-1], abs=1e-5)


def test_few_positions_at_a_time_change_nothing(monkeypatch):
    model, tokens = tiny_llama(), ids(num=23)
    (wanted,) = read_tokens(model, [tokens], WHOLE)
    monkeypatch.setattr(gathered, "NUMBERS_AT_A_TIME", 3 * VOCAB)
    (found,) = read_tokens(model, [tokens], WHOLE)
    assert_same(found, wanted, 1e-6)


class _Tables(TorchDispatchMode):
    """Storages as large as the whole table of logits."""

    def __init__(self, size):
        super().__init__()
        self.size, self.found = size, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            storage = made.untyped_storage()
            if storage.nbytes() >= 4 * self.size:
                self.found.append((func, storage.data_ptr()))
        return made


def test_there_are_never_two_tables_of_tokens_by_vocabulary(monkeypatch):
    model = tiny_llama(vocab=4000)
    monkeypatch.setattr(gathered, "NUMBERS_AT_A_TIME", 4 * 4000)
    with _Tables(31 * 4000) as tables:
        read_tokens(model, [ids(num=32)], WHOLE)
    assert len({place for _, place in tables.found}) == 1


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "bloom", "falcon"])
def test_what_was_read_while_writing_is_what_a_later_pass_reads(name):
    model, prompt = tiny_family(name), ids(num=5)
    stream = np.random.default_rng(1)
    for choose in (greedy, drawing(2.0, stream)):
        written = read_while_writing(model, prompt, choose, max_new_tokens=9)
        assert written.token_ids.size == 14
        (again,) = read_tokens(model, [written.token_ids], WHOLE)
        assert_same(written.numbers, again)
        np.testing.assert_array_equal(written.numbers.top_ids, again.top_ids)


def test_greedy_writes_what_it_ranks_first_and_chance_does_not():
    model, prompt = tiny_llama(), ids(num=5)
    written = read_while_writing(model, prompt, greedy, max_new_tokens=12)
    assert written.numbers.rank[5:].tolist() == [0] * 12
    drawn = drawing(3.0, np.random.default_rng(0))
    hot = read_while_writing(model, prompt, drawn, max_new_tokens=12)
    assert (hot.numbers.rank[5:] > 0).any()


def test_an_end_ends_the_text_and_has_a_reading():
    model = saying([0.0, 5.0, 0.0])
    written = read_while_writing(model, np.array([0, 2]), greedy, ends=[1])
    assert written.token_ids.tolist() == [0, 2, 1]
    assert written.numbers.rank.tolist() == [-1, 1, 0]


def test_draws_follow_the_distribution():
    choose = drawing(1.0, np.random.default_rng(0))
    logits = torch.tensor([0.0, math.log(3), -100.0])
    drawn = [choose(logits) for _ in range(4000)]
    assert np.mean(drawn) == pytest.approx(0.75, abs=0.03)
    assert set(drawn) == {0, 1}


def test_narrow_models_are_read_in_float32():
    model = tiny_llama().to(torch.bfloat16)
    (found,) = read_tokens(model, [tokens := ids(num=9)], WHOLE)
    with torch.no_grad():
        logits = model(torch.from_numpy(tokens)[None]).logits[0, :-1]
    assert logits.dtype == torch.bfloat16
    p = logits.double().softmax(1).gather(1, torch.from_numpy(tokens[1:])[:, None])
    np.testing.assert_allclose(found.surprise[1:], -p[:, 0].log().numpy(), atol=1e-2)


def test_the_model_is_left_as_found():
    model = tiny_llama().train()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    read_tokens(model, [ids(num=4)], WHOLE)
    read_while_writing(model, ids(num=4), greedy, max_new_tokens=2)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(before[n], one) for n, one in model.state_dict().items())


def test_refusals():
    with pytest.raises(MeasureError, match="text 1: it has no token to read"):
        read_tokens(tiny_llama(), [ids(num=2), ids(num=0)], WHOLE)
    with pytest.raises(MeasureError, match="text 0: a logit is NaN or infinite"):
        read_tokens(saying([math.nan, 0.0]), [np.array([0, 1])], WHOLE)
    with pytest.raises(UsageError, match="a window of 1 tokens predicts none"):
        Windows(window=1, stride=1)
    with pytest.raises(UsageError, match="cannot share 8; give a stride of 1 to 7"):
        Windows(window=8, stride=8)
    with pytest.raises(UsageError, match="temperature 0 draws nothing"):
        drawing(0.0, np.random.default_rng(0))
