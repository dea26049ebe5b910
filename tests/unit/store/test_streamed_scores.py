"""Are scores that are written matrix by matrix those that go in, byte by byte?"""

import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from driftmap.core.errors import StoreError
from driftmap.core.places import RowBlocks, Site
from driftmap.store import codec
from driftmap.store.scores import (
    ScoreHalves,
    growing_halves,
    open_halves,
    open_scores,
    save_scores,
    writing_halves,
)
from driftmap.store.streaming import streaming_tensors
from pinned_files import safetensors_bytes

Q = Site(path="m.0.q", layer=0, part="q", num_rows=2, num_columns=3)
K = Site(
    path="m.0.qkv",
    layer=0,
    part="k",
    num_rows=1,
    num_columns=4,
    split=RowBlocks(start=1, length=1, stride=3, count=1),
)
SETTINGS = {"score": "snip", "num_samples": 4}

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8).filter(
    lambda name: name != "__metadata__"
)
SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 5))


def halves(site: Site, seed: int = 0) -> ScoreHalves:
    draw = np.random.default_rng(seed)
    even, odd = draw.random((2, *site.shape), dtype=np.float32)
    return ScoreHalves(even=even, odd=odd)


@given(st.dictionaries(NAMES, SHAPES, max_size=6), st.randoms(use_true_random=False))
def test_streamed_bytes_are_those_of_the_library(tmp_path_factory, shapes, order):
    folder = tmp_path_factory.mktemp("streamed")
    draw = np.random.default_rng(0)
    arrays = {
        name: draw.standard_normal(shape).astype("f4") for name, shape in shapes.items()
    }
    codec.save_tensors(folder / "whole", arrays, "a.kind", {"more": "ü"})
    names = list(shapes)
    order.shuffle(names)
    with streaming_tensors(folder / "parts", shapes, "a.kind", {"more": "ü"}) as write:
        for name in names:
            write(name, arrays[name])
    assert (folder / "parts").read_bytes() == (folder / "whole").read_bytes()


def test_transposed_matrices_are_written_by_rows(tmp_path):
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3).T
    with streaming_tensors(tmp_path / "s", {"m": (3, 2)}, "a.kind", {}) as write:
        write("m", matrix)
    np.testing.assert_array_equal(load_file(tmp_path / "s")["m"], matrix)


def test_only_what_was_announced_is_written(tmp_path):
    with (
        pytest.raises(AssertionError, match="m: another shape"),
        streaming_tensors(tmp_path / "s", {"m": (2, 3)}, "a.kind", {}) as write,
    ):
        write("m", np.zeros((3, 2), np.float32))


def test_a_matrix_that_never_came_is_a_defect(tmp_path):
    with (
        pytest.raises(AssertionError, match=r"\['m'\]: never written"),
        streaming_tensors(tmp_path / "s", {"m": (2, 3)}, "a.kind", {}),
    ):
        pass


def test_halves_round_trip_in_any_order(tmp_path):
    for file, order in (("a", [Q, K]), ("b", [K, Q])):
        with writing_halves(tmp_path / file, order, SETTINGS) as write:
            for site in order:
                write(site, halves(site))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with open_halves(tmp_path / "a") as file:
        for site in (Q, K):
            found, wanted = file.at(site), halves(site)
            np.testing.assert_array_equal(found.even, wanted.even)
            np.testing.assert_array_equal(found.odd, wanted.odd)
            assert found.even.flags.writeable


def test_temporary_halves_have_the_same_bytes(tmp_path):
    for file, way in (("a", writing_halves), ("b", growing_halves)):
        with way(tmp_path / file, [Q], SETTINGS) as write:
            write(Q, halves(Q))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def interrupt(write):
    write(Q, halves(Q))
    raise KeyboardInterrupt


def test_halves_that_break_off_leave_no_file(tmp_path):
    with (
        pytest.raises(KeyboardInterrupt),
        writing_halves(tmp_path / "s", [Q, K], SETTINGS) as write,
    ):
        interrupt(write)
    assert list(tmp_path.iterdir()) == []


def test_the_bytes_of_halves_are_pinned(tmp_path):
    site = Site(path="a.0", layer=0, part="q", num_rows=1, num_columns=1)
    one, two = np.ones((1, 1), np.float32), np.full((1, 1), 2, np.float32)
    with writing_halves(tmp_path / "s", [site], {"n": 1}) as write:
        write(site, ScoreHalves(even=one, odd=two))
    header = (
        b'{"__metadata__":{"driftmap":"{\\"kind\\":\\"driftmap.half-scores\\",'
        b'\\"settings\\":{\\"n\\":1},\\"sites\\":[{\\"head_size\\":null,\\"layer\\":0,'
        b'\\"part\\":\\"q\\",\\"path\\":\\"a.0\\",\\"shape\\":[1,1],\\"split\\":null,'
        b'\\"transposed\\":false}],\\"version\\":1}"},'
        b'"a.0.even":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},'
        b'"a.0.odd":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}}'
    )
    whole = safetensors_bytes(header, bytes.fromhex("0000803f00000040"))
    assert (tmp_path / "s").read_bytes() == whole


def test_whole_scores_are_no_halves_and_halves_no_whole_scores(tmp_path):
    save_scores(tmp_path / "whole", {Q: halves(Q).even}, SETTINGS)
    with writing_halves(tmp_path / "halves", [Q], SETTINGS) as write:
        write(Q, halves(Q))
    foreign = pytest.raises(StoreError, match=r"not driftmap\.half-scores")
    with foreign, open_halves(tmp_path / "whole"):
        pass
    foreign = pytest.raises(StoreError, match=r"holds driftmap\.half-scores, not")
    with foreign, open_scores(tmp_path / "halves"):
        pass


def test_missing_and_reshaped_halves_are_named(tmp_path):
    with writing_halves(tmp_path / "s", [Q], SETTINGS) as write:
        write(Q, halves(Q))
    larger = Site(path="m.0.q", layer=0, part="q", num_rows=4, num_columns=3)
    with open_halves(tmp_path / "s") as file:
        with pytest.raises(StoreError, match=r"m\.0\.qkv#k\.even is missing; write"):
            file.at(K)
        with pytest.raises(StoreError) as caught:
            file.at(larger)
    assert str(caught.value) == (
        f"{tmp_path / 's'}: m.0.q.even is 2 x 3, not 4 x 3; score this model again"
    )


def test_memory_is_that_of_one_matrix(tmp_path):
    sites = [
        Site(path=f"m.{n}", layer=n, part="q", num_rows=256, num_columns=256)
        for n in range(8)
    ]
    random.Random(0).shuffle(sites)
    tracemalloc.start()
    try:
        with writing_halves(tmp_path / "s", sites, SETTINGS) as write:
            for site in sites:
                write(site, halves(site))
        for site in sites:
            with open_halves(tmp_path / "s") as file:
                assert file.at(site).odd.shape == site.shape
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * 2 * 4 * 256 * 256
