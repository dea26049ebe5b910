"""Divergences against hand-worked numbers, a naive sum in float64, and their laws."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from driftmap.core.errors import MeasureError
from driftmap.measure.divergence import DivergenceFold, divergences


def logits(seed: int, *, rows: int = 3, vocab: int = 50, scale: float = 4.0):
    stream = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, vocab, generator=stream)


def naive(before, after) -> list[tuple[float, float, float]]:
    found = []
    for one, other in zip(before.tolist(), after.tolist(), strict=True):
        p, q = shares(one), shares(other)
        m = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
        found.append((kl(p, q), kl(q, p), (kl(p, m) + kl(q, m)) / 2))
    return found


def shares(row: list[float]) -> list[float]:
    top = max(row)
    raised = [math.exp(one - top) for one in row]
    return [one / math.fsum(raised) for one in raised]


def kl(p: list[float], q: list[float]) -> float:
    return math.fsum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True))


def test_two_tokens_by_hand():
    before, after = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    p = math.e / (1 + math.e)
    found = divergences(before, after)
    assert float(found.forward) == pytest.approx(
        p * math.log(2 * p) + (1 - p) * math.log(2 * (1 - p)), rel=1e-5
    )
    assert float(found.backward) == pytest.approx(
        -0.5 * math.log(2 * p) - 0.5 * math.log(2 * (1 - p)), rel=1e-5
    )


@pytest.mark.parametrize("apart", [1e-3, 0.03, 1.0, 6.0])
def test_float32_is_the_naive_sum_in_float64(apart):
    before = logits(0)
    after = before + apart * logits(1, scale=1.0)
    found = divergences(before, after)
    wanted = np.array(naive(before.double(), after.double())).T
    for own, expected in zip(
        (found.forward, found.backward, found.js), wanted, strict=True
    ):
        np.testing.assert_allclose(own.numpy(), expected, rtol=2e-3)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    apart=st.sampled_from([0.0, 1e-6, 0.01, 1.0, 300.0]),
    constant=st.sampled_from([0.0, -2.5, 64.0]),
)
def test_divergence_is_never_below_zero_and_zero_between_equals(seed, apart, constant):
    before = logits(seed, scale=2.0)
    after = before + apart * logits(seed + 1, scale=1.0) + constant
    found = divergences(before, after)
    swapped = divergences(after, before)
    for one in (found.forward, found.backward, found.js):
        assert bool((one >= 0).all())
        assert bool((one > 1e-8).all()) == (apart >= 0.01)
    assert float(found.js.max()) <= math.log(2) + 1e-6
    torch.testing.assert_close(found.js, swapped.js, rtol=1e-4, atol=1e-9)
    assert torch.equal(found.forward, swapped.backward)
    if apart == constant == 0.0:
        assert not float(found.forward.abs().max() + found.js.abs().max())


def test_half_precision_is_widened_before_anything_is_summed():
    before, after = logits(2).bfloat16(), logits(3).bfloat16()
    found, wanted = (
        divergences(before, after),
        divergences(before.float(), after.float()),
    )
    assert found.forward.dtype == torch.float32
    assert torch.equal(found.forward, wanted.forward)


def test_places_that_both_models_keep_empty_change_nothing():
    before, after = logits(4), logits(5)
    empty = torch.full((3, 2), -torch.inf)
    found = divergences(torch.cat([before, empty], 1), torch.cat([after, empty], 1))
    torch.testing.assert_close(found.forward, divergences(before, after).forward)


def test_a_fold_puts_every_piece_in_its_place_and_knows_equals():
    before, after = logits(6, rows=5), logits(7, rows=5)
    fold = DivergenceFold([6, 3])
    ids = torch.tensor([3, 1, 4, 1, 5])
    for some in (slice(0, 2), slice(2, 5)):
        fold.take(0, slice(some.start + 1, some.stop + 1),
                  (before[some], after[some]), ids[some])  # fmt: skip
    fold.take(1, slice(1, 3), (before[:2], before[:2].clone()), ids[:2])
    apart, same = fold.result()
    assert np.isnan(apart.forward[0])
    np.testing.assert_allclose(
        apart.forward[1:], divergences(before, after).forward.numpy(), rtol=1e-6
    )
    assert apart.before_logit[3] == float(before[2, 4])
    assert apart.after_logit[5] == float(after[4, 5])
    assert (apart.is_same, same.is_same) == (False, True)
    assert np.array_equal(same.js[1:], np.zeros(2))


def test_a_token_that_one_model_alone_rules_out_is_refused():
    before, after = logits(8, rows=1), logits(9, rows=1)
    after[0, 3] = -torch.inf
    with pytest.raises(MeasureError, match="impossible in one of them alone"):
        DivergenceFold([2]).take(0, slice(1, 2), (before, after), torch.tensor([0]))
