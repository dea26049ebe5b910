import json

import numpy as np
import pytest
from safetensors import safe_open

from driftmap.core.errors import StoreError
from driftmap.store.index.folder import Index
from driftmap.store.index.rows import Layout, RowsFile, rounded, widened, writing_rows
from made_index import SIZE, TENSORS, made_sketches, make_index


def written(path, keep="fp16", order=(0, 1, 2), num=5):
    sketched = made_sketches(range(num))
    layout = Layout(TENSORS, keep, num)
    with writing_rows(path, layout) as rows:
        for number in order:
            for first in (3, 0):
                part = sketched.rows[number][first : first + (3 if first == 0 else 2)]
                rows.put(number, first, part)
    return sketched, RowsFile(path, layout)


@pytest.mark.parametrize("keep", ["fp16", "int8"])
def test_any_order_of_writing_gives_the_same_bytes(tmp_path, keep):
    written(tmp_path / "one", keep)
    written(tmp_path / "two", keep, order=(2, 0, 1))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_safetensors_reads_the_file_and_tensors_lie_in_table_order(tmp_path):
    sketched, _ = written(tmp_path / "rows")
    with safe_open(tmp_path / "rows", framework="numpy") as file:
        for tensor, rows in zip(TENSORS, sketched.rows, strict=True):
            found = file.get_tensor(tensor.place.name)
            assert np.array_equal(found, rows.astype(np.float16))
    content = (tmp_path / "rows").read_bytes()
    size = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + size])
    ends = [entries[t.place.name]["data_offsets"] for t in TENSORS]
    assert ends == [[0, 160], [160, 320], [320, 380]]
    assert (8 + size) % 64 == 0
    assert content[8 + size :] == b"".join(
        rows.astype("<f2").tobytes() for rows in sketched.rows
    )


def test_int8_rows_have_one_scale_each(tmp_path):
    sketched, file = written(tmp_path / "rows", "int8")
    with safe_open(tmp_path / "rows", framework="numpy") as read:
        scales = read.get_tensor("__scale__")
    assert scales.shape == (3, 5)
    for number, rows in enumerate(sketched.rows):
        kept, own = file.kept(number), file.scales(number)
        assert kept.dtype == np.int8
        assert np.array_equal(own, scales[number])
        assert np.abs(kept).max(1).tolist() == [127] * 5
        step = np.abs(rows).max(1, keepdims=True) / 127
        assert (np.abs(kept * own[:, None] - rows) <= step * 0.501).all()


def test_a_row_of_zeros_stays_one():
    kept, scales = rounded(np.zeros((1, 4), np.float32), "int8")
    assert not kept.any()
    assert not scales.any()


def test_half_precision_is_widened_exactly():
    every = np.arange(1 << 16, dtype="<u2").view("<f2").reshape(512, 128)
    finite = np.isfinite(every)
    wide = widened(every)
    assert wide.dtype == np.float32
    assert np.array_equal(wide[finite], every[finite].astype(np.float32))
    assert np.array_equal(np.signbit(wide), np.signbit(every))


def test_the_public_view_is_a_transpose_of_the_file_without_a_copy(tmp_path):
    sketched, file = written(tmp_path / "rows")
    view = file.view([0, 1])
    assert view.shape == (5, 2, SIZE)
    assert np.array_equal(view[3, 1], sketched.rows[1][3].astype(np.float16))
    assert view.strides == (SIZE * 2, 5 * SIZE * 2, 2)
    assert np.shares_memory(view, file.kept(1))
    assert not view.flags.writeable


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: content[:-1],
        lambda content: content + b"\0",
        lambda content: b"\1" + content[1:],
        lambda content: content.replace(b"l.0.q", b"l.0.k"),
        lambda _: b"",
    ],
)
def test_a_file_that_does_not_fit_its_place_is_refused(tmp_path, harm):
    path = tmp_path / "rows"
    written(path)
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(StoreError, match="rows: is damaged or of another index"):
        RowsFile(path, Layout(TENSORS, "fp16", 5))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(StoreError, match="rows: is missing; find it, or repeat"):
        RowsFile(tmp_path / "rows", Layout(TENSORS, "fp16", 5))


def test_an_index_gives_back_what_was_put(tmp_path):
    index = Index(make_index(tmp_path / "index", num_samples=10))
    wanted = made_sketches(range(10))
    assert [s.planned.name for s in index.shards()] == [
        "shard-00000000-00000004",
        "shard-00000004-00000008",
        "shard-00000008-00000010",
    ]
    rows = np.concatenate([widened(s.kept(1)[0]) for s in index.shards()])
    assert np.allclose(rows, wanted.rows[1], atol=1e-3)
    exact, kept = (
        np.concatenate(each)
        for each in zip(*(s.energies() for s in index.shards()), strict=True)
    )
    assert np.array_equal(exact, wanted.energies)
    lengths = np.square(rows, dtype=float).sum(1)
    assert np.allclose(kept[:, 1], exact[:, 1] * lengths, rtol=1e-12)
    samples = index.samples([9, 0])
    assert samples[9].id == "s9"
    assert samples[0].token_ids == (1, 5, 6, 7)
    assert samples[0].counted == ((2, 4),)
