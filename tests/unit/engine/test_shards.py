import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import UsageError
from driftmap.engine.shards import (
    CHUNK,
    Fraction,
    Range,
    bounds,
    parse_partition,
    shards_of,
)

NUM = st.integers(1, 1000)
SIZE = st.integers(1, 130)


@given(NUM, SIZE)
def test_shards_cover_every_sample_once_and_in_order(num, size):
    shards = shards_of(num, size=size)
    samples = [i for shard in shards for i in range(shard.start, shard.stop)]
    assert samples == list(range(num))
    assert [shard.number for shard in shards] == list(range(len(shards)))
    assert all(0 < shard.num_samples <= size for shard in shards)
    assert all(shard.start == shard.number * size for shard in shards)


@given(NUM, SIZE, st.data())
def test_parts_by_fraction_are_the_shards_of_the_whole(num, size, data):
    whole = shards_of(num, size=size)
    count = data.draw(st.integers(1, len(whole)))
    parts = [
        shards_of(num, Fraction(index=i, count=count), size=size)
        for i in range(1, count + 1)
    ]
    assert tuple(shard for part in parts for shard in part) == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(NUM, SIZE, st.data())
def test_parts_by_range_cover_their_samples_and_end_at_the_edges_of_chunks(
    num, size, data
):
    cut = data.draw(st.integers(1, max(1, num - 1)))
    parts = [(0, cut), (cut, num)] if cut < num else [(0, num)]
    for start, stop in parts:
        shards = shards_of(num, Range(start=start, stop=stop), size=size)
        samples = [i for shard in shards for i in range(shard.start, shard.stop)]
        assert samples == list(range(start, stop))
        for shard in shards:
            assert shard.start // size == (shard.stop - 1) // size == shard.number


def test_names_sort_as_the_samples_do():
    names = [shard.name for shard in shards_of(1_000_000, size=5_000)]
    assert names == sorted(names)
    assert len(set(names)) == len(names)


def test_a_chunk_has_64_samples():
    assert CHUNK == 64
    assert bounds(150, Fraction(index=3, count=3)) == (128, 150)


@pytest.mark.parametrize(
    "words",
    ["0/3", "4/3", "x", "1", "1/0", "-1/3", "1/3/5", " 1/3", "1.5/3", "", "²/3"],
)
def test_a_fraction_that_is_no_part_is_refused(words):
    wanted = (
        f"--partition {words} names no part; give its number and how many there are, "
        "as in 1/4 to 4/4"
    )
    with pytest.raises(UsageError, match=re.escape(wanted)):
        parse_partition(words, None, None)


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (1, None, "--partition-start is given alone; give --partition-end as well"),
        (None, 9, "--partition-end is given alone; give --partition-start as well"),
        (5, 5, "--partition-start 5 --partition-end 5 holds no sample; give 0 or more"),
        (-1, 5, "--partition-start -1 --partition-end 5 holds no sample; give 0 or"),
    ],
)
def test_half_a_range_or_an_empty_one_is_refused(start, end, wanted):
    with pytest.raises(UsageError, match=re.escape(wanted)):
        parse_partition(None, start, end)


@pytest.mark.parametrize(("start", "end"), [(1, 2), (1, None), (None, 2)])
def test_two_ways_at_once_are_refused(start, end):
    with pytest.raises(UsageError, match="--partition 1/2 and --partition-start or"):
        parse_partition("1/2", start, end)


def test_parts_that_would_be_empty_are_refused():
    wanted = (
        "--partition 1/3: 100 samples are 2 chunks of 64, so that some of 3 parts "
        "would be empty; divide by at most 2"
    )
    with pytest.raises(UsageError, match=re.escape(wanted)):
        shards_of(100, Fraction(index=1, count=3))
    with pytest.raises(UsageError, match="5 samples are 1 chunk of 64"):
        shards_of(5, Fraction(index=1, count=2))


def test_a_range_beyond_the_samples_is_refused():
    wanted = "--partition-end is 101, and there are 100 samples; give at most 100"
    with pytest.raises(UsageError, match=re.escape(wanted)):
        shards_of(100, Range(start=0, stop=101))


def test_parts_are_said_as_they_are_given():
    assert str(parse_partition("3/4", None, None)) == "3/4"
    assert str(parse_partition(None, 3, 4)) == "3:4"
    assert parse_partition(None, None, None) is None
