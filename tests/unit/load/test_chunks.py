"""Do parts that are cut at chunks have the batches of the whole?"""

import numpy as np
import pytest

from driftmap.core.errors import UsageError
from driftmap.load.chunks import chunked_batches
from driftmap.results.samples import EncodedSample

HOW = {"chunk": 4, "batch_tokens": 12, "pad_id": 0}


def samples(*lengths):
    return [
        EncodedSample(
            sample_id=f"s{number}",
            token_ids=np.arange(length, dtype=np.int32),
            counted=np.ones(length, bool),
            prompt_length=0,
        )
        for number, length in enumerate(lengths)
    ]


MANY = samples(3, 9, 2, 5, 4, 4, 30, 1, 6)


def numbers(batches):
    return [batch.sample_index for batch in batches]


def test_batches_hold_neighbours_in_length_and_at_most_so_many_tokens():
    assert numbers(chunked_batches(MANY, range(9), **HOW)) == [
        (1,), (3, 0), (2,), (6,), (4, 5, 7), (8,),
    ]  # fmt: skip


@pytest.mark.parametrize("cut", [4, 8])
def test_parts_have_the_batches_of_the_whole(cut):
    whole = chunked_batches(MANY, range(9), **HOW)
    parts = [chunked_batches(MANY, r, **HOW) for r in (range(cut), range(cut, 9))]
    joined = [*parts[0], *parts[1]]
    assert numbers(joined) == numbers(whole)
    for one, other in zip(joined, whole, strict=True):
        assert one.sample_ids == other.sample_ids
        assert one.token_ids.equal(other.token_ids)


def test_every_sample_comes_once_also_where_a_chunk_is_cut():
    found = [
        n for b in chunked_batches(MANY, range(2, 7), **HOW) for n in b.sample_index
    ]
    assert sorted(found) == [2, 3, 4, 5, 6]


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(UsageError) as error:
        chunked_batches(MANY, range(9), chunk=4, batch_tokens=0, pad_id=0)
    assert str(error.value) == "--batch-tokens is 0; give 1 or more"
