import numpy as np
import pytest
import torch

from driftmap.core.errors import DataError, MeasureError
from driftmap.evaluate.accuracy import held_out_accuracy
from driftmap.signals.batch import Batch
from tiny import tiny_llama


def batch(rows, *, first_index=0):
    """Rows of (ids, prompt length), padded on the right."""
    length = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.int64)
    real = torch.zeros(len(rows), length, dtype=torch.bool)
    counted = torch.zeros_like(real)
    for row, (some, prompt) in enumerate(rows):
        ids[row, : len(some)] = torch.tensor(some)
        real[row, : len(some)] = True
        counted[row, prompt : len(some)] = True
    index = range(first_index, first_index + len(rows))
    return Batch(
        sample_ids=tuple(f"s{i}" for i in index),
        sample_index=tuple(index),
        token_ids=ids,
        real=real,
        counted=counted,
        observed=counted,
    )


def continued(model, prompt, count):
    ids = [*prompt]
    for _ in range(count):
        ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
    return ids


def test_sample_is_right_exactly_if_greedy_decoding_writes_it():
    model = tiny_llama()
    rng = np.random.default_rng(0)
    rows, expected = [], []
    for number in range(12):
        prompt = rng.integers(3, 40, 2 + number % 3).tolist()
        ids = continued(model, prompt, 1 + number % 4)
        if number % 2:
            place = rng.integers(len(prompt), len(ids))
            ids[place] = (ids[place] + 1) % 40
        rows.append((ids, len(prompt)))
        expected.append(continued(model, prompt, len(ids) - len(prompt)) == ids)
    readings = held_out_accuracy(model, [batch(rows)])
    assert [reading.right for reading in readings] == expected
    assert sum(expected) == 6


def test_nll_and_right_tokens_are_those_of_single_samples():
    model = tiny_llama()
    rows = [([3, 4, 5, 6], 2), ([7, 8], 1), ([9, 10, 11, 12, 13], 1)]
    readings = held_out_accuracy(model, [batch(rows)])
    for (ids, prompt), reading in zip(rows, readings, strict=True):
        z = model(torch.tensor([ids])).logits[0].detach().double()
        nll = [-z[t - 1].log_softmax(0)[ids[t]].item() for t in range(prompt, len(ids))]
        assert reading.nll_nats == pytest.approx(np.mean(nll), rel=1e-5)
        assert reading.num_tokens == len(nll)
        right = [z[t - 1].argmax() == ids[t] for t in range(prompt, len(ids))]
        assert reading.num_right_tokens == sum(right)


def test_batches_change_nothing_and_order_is_that_of_the_data():
    model = tiny_llama().train()
    rows = [([3, 4, 5, 6], 2), ([7, 8], 1), ([9, 10, 11, 12, 13], 1)]
    together = held_out_accuracy(model, [batch(rows)])
    apart = held_out_accuracy(model, [batch(rows[2:], first_index=2), batch(rows[:2])])
    for one, other in zip(together, apart, strict=True):
        assert one.sample_id == other.sample_id
        assert one.right == other.right
        assert one.nll_nats == pytest.approx(other.nll_nats, rel=1e-5)
    assert model.training


def test_nothing_to_read_is_refused():
    with pytest.raises(DataError, match="no held-out sample"):
        held_out_accuracy(tiny_llama(), [])
    with pytest.raises(DataError, match="sample 's0': no token counts"):
        held_out_accuracy(tiny_llama(), [batch([([3, 4], 2)])])


def test_nan_names_the_sample():
    model = tiny_llama()
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(MeasureError, match="sample 's0': a logit is NaN"):
        held_out_accuracy(model, [batch([([3, 4], 1)])])
