import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import StoreError
from driftmap.core.places import RowBlocks, Site
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store import json_scan
from driftmap.store.interop import export_json_group, import_json_group, json_key

Q = Site(
    path="model.layers.0.self_attn.q_proj",
    layer=0,
    part="q",
    num_rows=4,
    num_columns=5,
)
UP = Site(
    path="model.layers.1.mlp.up_proj", layer=1, part="up", num_rows=2, num_columns=3
)
K = Site(
    path="transformer.h.10.attn.c_attn",
    layer=10,
    part="k",
    num_rows=2,
    num_columns=2,
    split=RowBlocks(start=2, length=2, stride=2, count=1),
    transposed=True,
)
SITES = (Q, UP, K)
ORIGIN = GroupOrigin(model_sha256="a", base_sha256="a", rule="imported")
PLAIN = '{"layer_0_self_attn.q_proj":[[0,1],[3,4]],"layer_1_mlp.up_proj":[]}'
SCORED = (
    '{"layer_0_self_attn.q_proj":[[0,1,0.1],[3,4,2.5e-08]],'
    '"layer_10_attn.c_attn#k":[[1,0,3.0]]}'
)


def read(path, text):
    path.write_text(text, encoding="utf-8")
    return import_json_group(path, SITES, "safety", ORIGIN)


def test_keys_follow_the_published_names():
    assert [json_key(site) for site in SITES] == [
        "layer_0_self_attn.q_proj", "layer_1_mlp.up_proj", "layer_10_attn.c_attn#k",
    ]  # fmt: skip


def test_a_group_is_read(tmp_path):
    group = read(tmp_path / "g.json", PLAIN)
    assert (group.name, group.origin) == ("safety", ORIGIN)
    assert group.members[Q].tolist() == [1, 19]
    assert group.members[UP].tolist() == []
    assert group.scores == {}


@pytest.mark.parametrize("text", [PLAIN, SCORED, "{}"])
def test_json_to_group_to_json_changes_nothing(tmp_path, text):
    export_json_group(tmp_path / "h.json", read(tmp_path / "g.json", text))
    assert (tmp_path / "h.json").read_text() == text


def test_white_space_and_order_do_not_matter(tmp_path):
    text = ' {\n "layer_0_self_attn.q_proj" : [ [3, 4, 1], [ 0,1 ,2.0] ]\n}\n'
    group = read(tmp_path / "g.json", text)
    assert group.members[Q].tolist() == [1, 19]
    assert group.scores[Q].tolist() == [2.0, 1.0]


@given(st.data())
def test_group_to_json_to_group_changes_nothing(tmp_path_factory, data):
    members, scores = {}, {}
    for site in SITES:
        drawn = data.draw(st.sets(st.integers(0, site.num_weights - 1)))
        members[site] = np.array(sorted(drawn), dtype=np.int64)
        if drawn and data.draw(st.booleans()):
            floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
            size = {"min_size": len(drawn), "max_size": len(drawn)}
            scores[site] = np.array(data.draw(st.lists(floats, **size)), np.float32)
    group = WeightGroup(name="g", members=members, scores=scores, origin=ORIGIN)
    path = tmp_path_factory.mktemp("json") / "g.json"
    export_json_group(path, group)
    back = import_json_group(path, SITES, "g", ORIGIN)
    assert back.members.keys() == members.keys()
    assert back.scores.keys() == scores.keys()
    for site in SITES:
        np.testing.assert_array_equal(back.members[site], members[site])
    for site, score in scores.items():
        np.testing.assert_array_equal(back.scores[site], score)


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        ("[[0,1],[4,0]]", "entry 1: [4.0, 0.0] is no weight of a matrix of 4 rows and "
         "5 columns"),
        ("[[0,5]]", "entry 0: [0.0, 5.0] is no weight of a matrix"),
        ("[[-1,0]]", "entry 0: [-1.0, 0.0] is no weight of a matrix"),
        ("[[0.5,0]]", "entry 0: [0.5, 0.0] is no weight of a matrix"),
        ("[[0,1],[1,1],[0,1]]", "entry 2: [0, 1] stands there twice"),
        ("[[0,1],[1,1,2]]", "entry 1: [1, 1, 2] is not [row, column] or [row, column, "
         "score], alike all through the list"),
        ("[[0]]", "entry 0: [0] is not [row, column]"),
        ("[[0,1,2,3]]", "entry 0: [0, 1, 2, 3] is not [row, column]"),
        ("[[0,0],[]]", "entry 1: [] is not [row, column]"),
        ("[[0,1,1e999]]", "entry 0: [0, 1, inf] is not finite"),
    ],
)  # fmt: skip
def test_bad_entries_are_named_by_key_and_position(tmp_path, entries, told):
    path = tmp_path / "g.json"
    with pytest.raises(StoreError) as caught:
        read(path, f'{{"layer_0_self_attn.q_proj": {entries}}}')
    prefix = f"{path}: layer_0_self_attn.q_proj, "
    assert str(caught.value).startswith(prefix + told)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"layer_7_mlp.up_proj": []}', "'layer_7_mlp.up_proj' names no matrix of this "
         "model; its keys are like 'layer_0_self_attn.q_proj'"),
        ('{"layer_1_mlp.up_proj": [], "layer_1_mlp.up_proj": []}',
         "'layer_1_mlp.up_proj' stands there twice; join its lists"),
        ("", "character 0: expected {, found ''"),
        ("[]", "character 0: expected {, found '[]'"),
        ("{1: []}", 'character 1: expected a name such as "layer_0_self_attn.q_proj":'),
        ('{"a": 3}', "character 6: expected a list of [row, column] for 'a', found"),
        ('{"a": {"b": 1}}', "character 6: expected a list of [row, column] for 'a'"),
        ('{"a": [1, 2]}', "character 6: expected a list of [row, column] for 'a'"),
        ('{"a": [[1, true]]}', "character 11: expected only numbers for 'a', found"),
        ('{"a": [[1, NaN]]}', "character 11: expected only numbers for 'a'"),
        ('{"a": [[1 2]]}', "a: is not a list of [row, column] (Expecting ','"),
        ('{"a": [[1,2],[3,[4]]}', "a: is not a list of [row, column]"),
        ('{"a": []', "'a' names no matrix"),
        ('{"layer_1_mlp.up_proj": []', "character 26: expected }, found ''"),
        ('{"layer_1_mlp.up_proj": [];', "character 26: expected }, found ';'"),
        ('{"layer_1_mlp.up_proj": [],}', "character 27: expected a name such as"),
        ('{"layer_1_mlp.up_proj": []} x', "character 28: expected the end of the file"),
    ],
)  # fmt: skip
def test_bad_files_are_named(tmp_path, text, told):
    path = tmp_path / "g.json"
    with pytest.raises(StoreError, match=re.escape(told)) as caught:
        read(path, text)
    assert str(caught.value).startswith(f"{path}: ")


def test_missing_and_binary_files_are_named(tmp_path):
    path = tmp_path / "g.json"
    with pytest.raises(StoreError, match="no such file; check the name"):
        import_json_group(path, SITES, "g", ORIGIN)
    path.write_bytes(b'{"\xff')
    with pytest.raises(StoreError, match="is not UTF-8 text"):
        import_json_group(path, SITES, "g", ORIGIN)


@pytest.mark.parametrize("chunk", [1, 2, 3, 7])
def test_the_size_of_a_chunk_changes_nothing(tmp_path, monkeypatch, chunk):
    spaced = SCORED.replace("]", " \n ] ").replace(":", " : ")
    whole = read(tmp_path / "g.json", spaced)
    scan = list(json_scan.scan_lists(tmp_path / "g.json"))
    monkeypatch.setattr(json_scan._Scanner, "_read_more", _read_by(chunk))
    assert list(json_scan.scan_lists(tmp_path / "g.json")) == scan
    again = import_json_group(tmp_path / "g.json", SITES, "safety", ORIGIN)
    np.testing.assert_array_equal(again.members[Q], whole.members[Q])


def _read_by(chunk):
    def read_more(self):
        more = self._file.read(chunk)
        self._text += more
        return bool(more)

    return read_more


def test_large_exports_are_only_on_request(tmp_path):
    group = WeightGroup(
        name="g", members={Q: np.arange(20, dtype=np.int64)}, origin=ORIGIN
    )
    path = tmp_path / "g.json"
    with pytest.raises(StoreError) as caught:
        export_json_group(path, group, most_weights=19)
    assert str(caught.value) == (
        f"{path}: group 'g' has 20 weights, JSON is for at most 19; "
        "use the safetensors file or raise the limit"
    )
    assert not path.exists()
    export_json_group(path, group, most_weights=20)


def test_matrices_are_read_one_at_a_time(tmp_path):
    sites = [
        Site(path=f"m.{i}.q", layer=i, part="q", num_rows=500, num_columns=1_000)
        for i in range(20)
    ]
    path = tmp_path / "g.json"
    index = np.arange(0, 500_000, 50)
    export_json_group(
        path, WeightGroup(name="g", members=dict.fromkeys(sites, index), origin=ORIGIN)
    )
    one = path.stat().st_size / 20
    tracemalloc.start()
    read = import_json_group(path, sites, "g", ORIGIN)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read.num_weights == 200_000
    assert peak - kept < 8 * 2**20 + 20 * one
