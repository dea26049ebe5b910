"""Two models over the same tokens: equal to each alone, and blind to padding."""

import copy

import numpy as np
import pytest
import torch

from driftmap.capture.readings import read_tokens
from driftmap.capture.two_models import read_both
from driftmap.capture.windows import Windows
from driftmap.core.errors import MeasureError
from tiny import tiny_llama

WHOLE = Windows(window=64, stride=8)


class Kept:
    """Keeps what it is handed."""

    def __init__(self):
        self.logits, self.targets = {}, {}

    def take(self, text, place, pair, targets):
        for at, before, after, target in zip(
            range(place.start, place.stop), *pair, targets.tolist(), strict=True
        ):
            assert (text, at) not in self.logits
            self.logits[text, at] = (before.double(), after.double())
            self.targets[text, at] = target


def texts(*sizes: int) -> list[np.ndarray]:
    stream = np.random.default_rng(0)
    return [stream.integers(3, 40, size) for size in sizes]


def test_every_token_but_the_first_is_handed_on_once_with_the_models_own_logits():
    models = tiny_llama(seed=0), tiny_llama(seed=1)
    asked, kept = texts(9, 4, 14), Kept()
    read_both(models, asked, WHOLE, kept.take, batch_size=2)
    assert set(kept.logits) == {
        (n, at) for n, ids in enumerate(asked) for at in range(1, len(ids))
    }
    for number, ids in enumerate(asked):
        for which, model in enumerate(models):
            with torch.no_grad():
                wanted = model(torch.from_numpy(ids)[None]).logits[0].double()
            for at in range(1, len(ids)):
                found = kept.logits[number, at][which]
                torch.testing.assert_close(found, wanted[at - 1], rtol=1e-4, atol=1e-5)
                assert kept.targets[number, at] == ids[at]


@pytest.mark.parametrize("windows", [WHOLE, Windows(window=6, stride=2)])
def test_readings_are_those_of_each_model_alone(windows):
    models, asked = (tiny_llama(seed=0), tiny_llama(seed=1)), texts(9, 4, 14)
    for size in (1, 3):
        found = read_both(models, asked, windows, Kept().take, batch_size=size)
        for which, model in enumerate(models):
            wanted = read_tokens(model, asked, windows)
            for pair, alone in zip(found, wanted, strict=True):
                np.testing.assert_allclose(
                    pair[which].surprise, alone.surprise, atol=1e-5
                )
                np.testing.assert_allclose(
                    pair[which].entropy, alone.entropy, atol=1e-5
                )


def test_equal_models_give_equal_bits_whatever_the_padding():
    model, kept = tiny_llama(), Kept()
    found = read_both((model, copy.deepcopy(model)), texts(9, 4), WHOLE, kept.take,
                      batch_size=2)  # fmt: skip
    for before, after in kept.logits.values():
        assert torch.equal(before, after)
    for before, after in found:
        np.testing.assert_array_equal(before.surprise, after.surprise)


def test_other_vocabularies_are_refused():
    models = tiny_llama(), tiny_llama(vocab=41)
    with pytest.raises(MeasureError, match=r"between 40 tokens, the tuned .* 41"):
        read_both(models, texts(4), WHOLE, Kept().take)


def test_a_single_token_has_no_reading():
    ((before, _),) = read_both(
        (tiny_llama(), tiny_llama()), texts(1), WHOLE, Kept().take
    )
    assert np.isnan(before.surprise).all()
