import json
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from driftmap.core.errors import StoreError
from driftmap.core.places import RowBlocks, Site
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.groups import load_group, open_group, save_group
from driftmap.store.scores import save_scores
from pinned_files import safetensors_bytes

Q = Site(path="m.0.q", layer=0, part="q", num_rows=3, num_columns=40, head_size=1)
K = Site(
    path="m.1.att",
    layer=1,
    part="k",
    num_rows=2,
    num_columns=8,
    split=RowBlocks(start=2, length=1, stride=3, count=2),
    transposed=True,
)
WIDE = Site(path="m.2.up", layer=2, part="up", num_rows=2, num_columns=70_000)
ORIGIN = GroupOrigin(
    model_sha256="ab",
    base_sha256="cd",
    rule="difference",
    score="snip",
    shares={"p": 0.1, "q": 0.25},
    samples_sha256={"behaviour": "ef"},
    positions="response",
)


def group_of(members, scores=None, name="safety"):
    return WeightGroup(
        name=name,
        members={s: np.array(i, dtype=np.int64) for s, i in members.items()},
        scores={s: np.array(x, dtype=np.float32) for s, x in (scores or {}).items()},
        origin=ORIGIN,
    )


def assert_equal_groups(left, right):
    assert (left.name, left.origin) == (right.name, right.origin)
    assert left.members.keys() == right.members.keys()
    assert left.scores.keys() == right.scores.keys()
    for site, index in left.members.items():
        assert right.members[site].dtype == np.int64
        np.testing.assert_array_equal(index, right.members[site])
    for site, score in left.scores.items():
        np.testing.assert_array_equal(score, right.scores[site])


EXAMPLE = group_of(
    {K: [1, 7, 8], WIDE: [65_535, 65_536, 139_999], Q: [0, 39, 41]},
    scores={Q: [1.0, 0.5, 0.25]},
)


def test_the_example_round_trips(tmp_path):
    save_group(tmp_path / "g.safetensors", EXAMPLE)
    assert_equal_groups(EXAMPLE, load_group(tmp_path / "g.safetensors"))


def test_layout_is_rows_or_bits(tmp_path):
    save_group(tmp_path / "g", EXAMPLE)
    arrays = load_file(tmp_path / "g")
    assert set(arrays) == {
        "m.0.q.row_start", "m.0.q.column", "m.0.q.score", "m.1.att#k.bits",
        "m.2.up.row_start", "m.2.up.column",
    }  # fmt: skip
    assert arrays["m.0.q.row_start"].tolist() == [0, 2, 3, 3]
    assert arrays["m.0.q.column"].tolist() == [0, 39, 1]
    assert arrays["m.0.q.row_start"].dtype == np.uint32
    assert arrays["m.0.q.column"].dtype == np.uint16
    assert arrays["m.1.att#k.bits"].tolist() == [0b10000010, 0b00000001]
    assert arrays["m.2.up.column"].dtype == np.uint32
    assert arrays["m.2.up.column"].tolist() == [65_535, 65_536, 69_999]


@pytest.mark.parametrize(("members", "bits"), [(2, False), (3, True)])
def test_bits_begin_above_one_in_sixteen(tmp_path, members, bits):
    site = Site(path="m.0.q", layer=0, part="q", num_rows=4, num_columns=8)
    save_group(tmp_path / "g", group_of({site: range(members)}))
    assert ("m.0.q.bits" in load_file(tmp_path / "g")) is bits


PINNED = (
    b'{"__metadata__":{"driftmap":"{\\"kind\\":\\"driftmap.group\\",'
    b'\\"name\\":\\"safety\\",\\"origin\\":{\\"base_sha256\\":\\"cd\\",'
    b'\\"model_sha256\\":\\"ab\\",\\"positions\\":\\"response\\",'
    b'\\"rule\\":\\"difference\\",\\"samples_sha256\\":{\\"behaviour\\":\\"ef\\"},'
    b'\\"score\\":\\"snip\\",\\"seed\\":null,\\"shares\\":{\\"p\\":0.1,\\"q\\":0.25}},'
    b'\\"sites\\":[{\\"head_size\\":1,\\"layer\\":0,\\"part\\":\\"q\\",'
    b'\\"path\\":\\"m.0.q\\",\\"shape\\":[3,40],\\"split\\":null,'
    b'\\"transposed\\":false},{\\"head_size\\":null,\\"layer\\":1,\\"part\\":\\"k\\",'
    b'\\"path\\":\\"m.1.att\\",\\"shape\\":[2,8],\\"split\\":{\\"count\\":2,'
    b'\\"length\\":1,\\"start\\":2,\\"stride\\":3},\\"transposed\\":true}],'
    b'\\"version\\":1}"},'
    b'"m.0.q.score":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
    b'"m.0.q.row_start":{"dtype":"U32","shape":[4],"data_offsets":[8,24]},'
    b'"m.0.q.column":{"dtype":"U16","shape":[2],"data_offsets":[24,28]},'
    b'"m.1.att#k.bits":{"dtype":"U8","shape":[2],"data_offsets":[28,30]}}'
)


def test_the_bytes_are_pinned(tmp_path):
    save_group(tmp_path / "g", group_of({K: [1, 8], Q: [0, 41]}, {Q: [1.0, 0.5]}))
    whole = (tmp_path / "g").read_bytes()
    data = bytes.fromhex(
        "0000803f 0000003f"  # scores 1 and 0.5
        "00000000 01000000 02000000 02000000"  # rows of m.0.q begin
        "0000 0100"  # columns 0 and 1
        "02 01"  # bits 1 and 8
    )
    assert whole == safetensors_bytes(PINNED, data)


def test_the_order_of_sites_changes_nothing(tmp_path):
    save_group(tmp_path / "a", group_of({Q: [1], K: [2], WIDE: []}))
    save_group(tmp_path / "b", group_of({WIDE: [], K: [2], Q: [1]}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


shapes = st.tuples(st.integers(1, 9), st.integers(1, 40))


@given(shapes, st.data())
def test_any_group_round_trips(tmp_path_factory, shape, data):
    rows, columns = shape
    site = Site(path="m.0.q", layer=0, part="q", num_rows=rows, num_columns=columns)
    members = sorted(data.draw(st.sets(st.integers(0, rows * columns - 1))))
    score = data.draw(
        st.lists(st.floats(width=32, allow_nan=False), min_size=len(members),
                 max_size=len(members))
    )  # fmt: skip
    path = tmp_path_factory.mktemp("group") / "g"
    group = group_of({site: members, K: []}, {site: score})
    save_group(path, group)
    assert_equal_groups(group, load_group(path))


def test_one_matrix_is_read_alone(tmp_path):
    save_group(tmp_path / "g", EXAMPLE)
    with open_group(tmp_path / "g") as group:
        assert group.sites == (Q, K, WIDE)
        assert (group.name, group.origin) == ("safety", ORIGIN)
        assert group.members(K).tolist() == [1, 7, 8]
        assert group.scores(Q).tolist() == [1.0, 0.5, 0.25]
        assert group.scores(K) is None
        other = Site(path="m.9.q", layer=9, part="q", num_rows=1, num_columns=1)
        assert group.members(other).size == 0


def test_a_million_members_take_bounded_memory(tmp_path):
    num_sites, size = 20, 50_000
    sites = [
        Site(path=f"m.{i}.q", layer=i, part="q", num_rows=1_000, num_columns=2_000)
        for i in range(num_sites)
    ]
    rng = np.random.default_rng(0)
    member = rng.choice(2_000_000, size, replace=False, shuffle=False)
    member.sort()
    save_group(tmp_path / "g", group_of(dict.fromkeys(sites, member)))
    assert (tmp_path / "g").stat().st_size < 2.2 * num_sites * size
    tracemalloc.start()
    with open_group(tmp_path / "g") as group:
        total = sum(group.members(site).size for site in sites)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total == 1_000_000
    assert peak < 40 * size


@pytest.mark.parametrize(
    ("members", "scores", "told"),
    [
        ({Q: [2, 1]}, {}, "must ascend and be unique"),
        ({Q: [1, 1]}, {}, "must ascend and be unique"),
        ({Q: [120]}, {}, "outside the matrix"),
        ({Q: [-1]}, {}, "outside the matrix"),
        ({Q: [1]}, {Q: [1.0, 2.0]}, "a score per member"),
    ],
)
def test_broken_groups_are_not_written(tmp_path, members, scores, told):
    with pytest.raises(AssertionError, match=told):
        save_group(tmp_path / "g", group_of(members, scores))
    assert not (tmp_path / "g").exists()


def test_two_matrices_with_one_key_are_not_written(tmp_path):
    twin = Site(path="m.0.q", layer=0, part="q", num_rows=1, num_columns=1)
    with pytest.raises(AssertionError, match="the same key"):
        save_group(tmp_path / "g", group_of({Q: [1], twin: [0]}))


def rewritten(path, change_arrays=None, change_header=None):
    """Write the example again after a change to its arrays or header."""
    save_group(path, EXAMPLE)
    arrays = load_file(path)
    size = int.from_bytes(path.read_bytes()[:8], "little")
    whole = json.loads(path.read_bytes()[8 : 8 + size])
    header = json.loads(whole["__metadata__"]["driftmap"])
    if change_arrays:
        change_arrays(arrays)
    if change_header:
        change_header(header)
    save_file(arrays, path, metadata={"driftmap": json.dumps(header)})


def put(name, values, dtype):
    return lambda arrays: arrays.update({name: np.array(values, dtype=dtype)})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("m.0.q.row_start", [0, 2, 3], np.uint32), "m.0.q.row_start is damaged"),
        (put("m.0.q.row_start", [0, 3, 2, 3], np.uint32), "row_start is damaged"),
        (put("m.0.q.row_start", [1, 2, 3, 3], np.uint32), "row_start is damaged"),
        (put("m.0.q.row_start", [0, 2, 2, 2], np.uint32), "row_start is damaged"),
        (put("m.0.q.row_start", [0, 2, 3, 3], np.int64), "is int64 with 1 axes, not"),
        (put("m.0.q.column", [39, 0, 1], np.uint16), "m.0.q.column is damaged"),
        (put("m.0.q.column", [0, 40, 1], np.uint16), "m.0.q.column is damaged"),
        (put("m.0.q.score", [1, 2], np.float32), "m.0.q.score is damaged"),
        (put("m.1.att#k.bits", [1], np.uint8), "m.1.att#k.bits is damaged"),
        (lambda arrays: arrays.pop("m.2.up.column"), "m.2.up.column is missing"),
    ],
)
def test_damaged_arrays_are_named(tmp_path, change, told):
    rewritten(tmp_path / "g", change)
    with pytest.raises(StoreError, match=told) as caught:
        load_group(tmp_path / "g")
    assert str(caught.value).startswith(f"{tmp_path / 'g'}: ")


def test_bits_past_the_end_are_damage(tmp_path):
    site = Site(path="m.0.q", layer=0, part="q", num_rows=1, num_columns=3)
    save_group(tmp_path / "g", group_of({site: [0]}))
    whole = bytearray((tmp_path / "g").read_bytes())
    whole[-1] = 0b1001
    (tmp_path / "g").write_bytes(whole)
    with pytest.raises(StoreError, match=r"m\.0\.q\.bits is damaged"):
        load_group(tmp_path / "g")


def drop(name):
    return lambda header: header.pop(name)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (drop("sites"), "its list of matrices is damaged"),
        (lambda h: h["sites"][0].update(part="z"), "list of matrices is damaged"),
        (lambda h: h["sites"][0].update(shape=[3]), "list of matrices is damaged"),
        (lambda h: h["sites"][1].update(split={}), "list of matrices is damaged"),
        (drop("name"), "the group's origin is damaged"),
        (lambda h: h["origin"].update(more=1), "the group's origin is damaged"),
        (lambda h: h.update(version=2), "of version 2, this driftmap reads up to 1"),
        (lambda h: h.update(kind="x"), "holds x, not driftmap.group; name the right"),
    ],
)
def test_damaged_headers_are_named(tmp_path, change, told):
    rewritten(tmp_path / "g", change_header=change)
    with pytest.raises(StoreError, match=told):
        load_group(tmp_path / "g")


def test_foreign_files_are_named(tmp_path):
    path = tmp_path / "g"
    with pytest.raises(StoreError, match="no such file; check the name"):
        load_group(path)
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(StoreError, match="is damaged or not safetensors"):
        load_group(path)
    save_file({"a": np.zeros(1)}, path)
    with pytest.raises(StoreError, match=r"no driftmap data, not driftmap\.group"):
        load_group(path)
    for text in ("{", "[]"):
        save_file({"a": np.zeros(1)}, path, metadata={"driftmap": text})
        with pytest.raises(StoreError, match="its header is damaged"):
            load_group(path)
    save_scores(path, {Q: np.zeros(Q.shape, dtype=np.float32)}, {})
    with pytest.raises(StoreError, match=r"holds driftmap\.scores, not driftmap\.gr"):
        load_group(path)


@pytest.mark.parametrize("cut", [1, 100, 500])
def test_cut_files_are_named(tmp_path, cut):
    save_group(tmp_path / "g", EXAMPLE)
    (tmp_path / "g").write_bytes((tmp_path / "g").read_bytes()[:-cut])
    with pytest.raises(StoreError, match="is damaged or not safetensors"):
        load_group(tmp_path / "g")
