import numpy as np
import pytest
import torch

from driftmap.core.errors import UsageError
from driftmap.load.batches import make_batches
from driftmap.results.samples import EncodedSample


def samples(*lengths):
    return [
        EncodedSample(
            sample_id=f"s:{number}",
            token_ids=np.arange(1, length + 1, dtype=np.int32),
            counted=np.arange(length) > 0,
            prompt_length=1,
        )
        for number, length in enumerate(lengths)
    ]


def test_golden_right_padding():
    (batch,) = make_batches(samples(2, 3), batch_size=2, pad_id=9)
    assert batch.sample_ids == ("s:1", "s:0")
    assert batch.sample_index == (1, 0)
    assert batch.token_ids.tolist() == [[1, 2, 3], [1, 2, 9]]
    assert batch.real.tolist() == [[True, True, True], [True, True, False]]
    assert batch.counted.tolist() == [[False, True, True], [False, True, False]]
    assert batch.token_ids.dtype == torch.int64


def test_golden_left_padding():
    (batch,) = make_batches(samples(2, 3), batch_size=2, pad_id=9, padding_side="left")
    assert batch.token_ids.tolist() == [[1, 2, 3], [9, 1, 2]]
    assert batch.real.tolist() == [[True, True, True], [False, True, True]]
    assert batch.counted.tolist() == [[False, True, True], [False, False, True]]


@pytest.mark.parametrize(
    ("positions", "wanted"),
    [
        ("response", [[False, True, False], [False, False, True, True, False]]),
        ("labels", [[False, False, True], [False, False, False, True, True]]),
        ("all", [[True] * 3, [True] * 5]),
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_golden_observed_tokens(positions, wanted, side):
    encoded = [
        EncodedSample(
            sample_id=str(length),
            token_ids=np.arange(length, dtype=np.int32),
            counted=np.arange(length) >= prompt,
            prompt_length=prompt,
        )
        for length, prompt in ((3, 2), (5, 3))
    ]
    (batch,) = make_batches(
        encoded, batch_size=2, pad_id=0, padding_side=side, positions=positions
    )
    pairs = zip(batch.real, batch.observed, strict=True)
    found = [observed[real].tolist() for real, observed in pairs]
    assert found == [wanted[index] for index in batch.sample_index]
    assert not (batch.observed & ~batch.real).any()


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
@pytest.mark.parametrize("side", ["left", "right"])
def test_every_token_of_every_sample_is_there_once(batch_size, side):
    encoded = samples(4, 1, 7, 4, 2, 2, 4)
    batches = make_batches(encoded, batch_size=batch_size, pad_id=0, padding_side=side)
    seen = {}
    for batch in batches:
        assert len(batch.sample_ids) <= batch_size
        for row, index in enumerate(batch.sample_index):
            seen[index] = batch.token_ids[row][batch.real[row]].tolist()
            assert not (batch.counted[row] & ~batch.real[row]).any()
    assert seen == {i: list(e.token_ids) for i, e in enumerate(encoded)}


def test_like_lengths_share_a_batch_and_the_order_is_fixed():
    batches = make_batches(samples(1, 5, 1, 5), batch_size=2, pad_id=0)
    assert [batch.sample_index for batch in batches] == [(1, 3), (0, 2)]
    assert all(batch.real.all() for batch in batches)


def test_nothing_makes_no_batches():
    assert make_batches([], batch_size=2, pad_id=0) == ()


def test_a_batch_needs_a_sample():
    with pytest.raises(UsageError, match="--batch-size is 0; give 1 or more"):
        make_batches(samples(1), batch_size=0, pad_id=0)
