import json
from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import StoreError
from driftmap.families.tensor_names import place_of_name
from driftmap.results.pair_products import NONE
from driftmap.store import json_members
from driftmap.store.json_members import read_members, write_members
from driftmap.store.pair_json import import_pairs, import_projections
from driftmap.store.pair_json_export import export_pairs
from driftmap.store.pair_products import Pairs
from stored_pairs import made_pairs

Q, UP = "model.layers.0.self_attn.q_proj.weight", "model.layers.0.mlp.up_proj.weight"
DOTS = {
    "a": {"a": {Q: 2.0, UP: 3.0}, "b": {Q: -1.0, UP: 0.5}},
    "b": {"c": {Q: 0.25, UP: 1e-07}, "b": {Q: 0.1, UP: 4.0}},
}
ASKED = {"a": {Q: 4.0, UP: 9.0}, "b": {Q: 1.0, UP: 16.0}}
FOUND = {"a": {Q: 1.0, UP: 4.0}, "b": {Q: 2.0, UP: 1.0}, "c": {Q: 1.0, UP: 1.0}}


def written(folder, dots=DOTS, asked=ASKED, found=FOUND, part=""):
    """The three files as the published ones are written: by `json.dump`, indent 4."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in (
        ("dot_products", dots),
        ("paraphrased_dot_products", asked),
        ("original_dot_products", found),
    ):
        (folder / f"{name}{part}.json").write_text(json.dumps(value, indent=4))
    return folder


def test_products_come_in_by_hand(tmp_path):
    (pairs,) = import_pairs(written(tmp_path), place_of_name)
    products, truth = pairs.products, pairs.truth
    assert products.queries == ("a", "b")
    assert products.originals == ("a", "b", "c")
    assert products.candidates.tolist() == [[0, 1], [2, 1]]
    assert [place.part for place in products.tensors] == ["q", "up"]
    assert products.dot[1].tolist() == [[0.25, 1e-07], [0.1, 4.0]]
    assert products.query_energy.tolist() == [[4, 9], [1, 16]]
    assert truth.original.tolist() == [0, 1]
    assert truth.sets == ("paraphrased", "paraphrased")
    energies = (4 + 9) * (1 + 4)
    assert products.cosine()[0, 0] == pytest.approx((2 + 3) / np.sqrt(energies))


@pytest.mark.parametrize("setting", ["paraphrased", "model_generated"])
def test_files_come_out_byte_for_byte(tmp_path, setting):
    place = tmp_path / "dot_products" / setting / "sample_size" / "2"
    (pairs,) = import_pairs(written(place), place_of_name)
    files = export_pairs(tmp_path / "out", pairs, "2")
    for name in ("dot_products", "paraphrased_dot_products", "original_dot_products"):
        again = tmp_path / "out" / place.relative_to(tmp_path) / f"{name}.json"
        assert again in files
        assert again.read_bytes() == (place / f"{name}.json").read_bytes()
    assert files[-1].name == "sample_size_2.json"
    assert files[-1].parent.name == setting


def test_cosines_alone_come_in_and_out_byte_for_byte(tmp_path):
    text = json.dumps({"a": {"a": 0.547395646572113, "b": -0.0078}, "b": {}}, indent=4)
    (tmp_path / "sample_size_2.json").write_text(text)
    (pairs,) = import_pairs(tmp_path, place_of_name)
    assert [place.name for place in pairs.products.tensors] == ["full gradient"]
    assert pairs.products.cosine()[0].tolist() == [0.547395646572113, -0.0078]
    assert pairs.products.candidates.tolist() == [[0, 1], [NONE, NONE]]
    (file,) = export_pairs(tmp_path / "out", pairs, "2")
    assert file.read_text() == text


def test_what_was_measured_here_goes_out_and_comes_back(tmp_path):
    products, truth = made_pairs(candidates=3)
    named = replace(products, queries=products.originals[: len(products.queries)])
    export_pairs(tmp_path, Pairs(products=products, truth=truth))
    (found,) = import_pairs(tmp_path, place_of_name)
    assert found.products.queries == named.queries
    # Originals come back in another order where some were never compared.
    order = [found.products.originals.index(o) for o in products.originals]
    np.testing.assert_array_equal(found.products.original_energy[order],
                                  products.original_energy)  # fmt: skip
    np.testing.assert_array_equal(found.products.cosine(), products.cosine())
    places = [replace(place, num_weights=None) for place in products.tensors]
    assert list(found.products.tensors) == places


def test_slices_go_out_as_their_parameter(tmp_path):
    products, truth = made_pairs()
    cut = tuple(
        replace(place, name=f"model.layers.0.self_attn.qkv_proj.weight#{part}")
        if place.part in ("q", "up")
        else place
        for place, part in zip(products.tensors, "_qk_", strict=True)
    )
    export_pairs(tmp_path, Pairs(products=replace(products, tensors=cut), truth=truth))
    (found,) = import_pairs(tmp_path, place_of_name)
    assert [p.name for p in found.products.tensors][1].endswith("qkv_proj.weight")
    np.testing.assert_allclose(
        found.products.dot[..., 1], products.dot[..., 1] + products.dot[..., 2]
    )
    np.testing.assert_allclose(found.products.cosine(), products.cosine())


def test_partial_files_are_joined(tmp_path):
    first, second = ({q: DOTS[q]} for q in "ab")
    written(tmp_path, first, {"a": ASKED["a"]}, {o: FOUND[o] for o in "ab"},
            part="_part_0_1")  # fmt: skip
    written(tmp_path, second, {"b": ASKED["b"]}, {o: FOUND[o] for o in "cb"},
            part="_part_1_2")  # fmt: skip
    (joined,) = import_pairs(tmp_path, place_of_name)
    (whole,) = import_pairs(written(tmp_path / "whole"), place_of_name)
    assert joined.products.originals == whole.products.originals
    np.testing.assert_array_equal(joined.products.dot, whole.products.dot)
    np.testing.assert_array_equal(
        joined.products.original_energy, whole.products.original_energy
    )


@pytest.mark.parametrize(
    ("spans", "message"),
    [
        ([(1, 2)], "part_1_2.json: no file holds what is from 0 to 1; add it"),
        ([(0, 1), (2, 3)], "part_2_3.json: no file holds what is from 1 to 2; add it"),
        (
            [(0, 2), (1, 3)],
            "part_1_3.json: holds 1 to 2 again, as sample_size_full_part_0_2.json",
        ),
    ],
)
def test_gaps_and_overlaps_of_parts_are_named(tmp_path, spans, message):
    for low, high in spans:
        file = tmp_path / f"sample_size_full_part_{low}_{high}.json"
        file.write_text(json.dumps({f"q{low}": {f"q{low}": 1.0}}))
    with pytest.raises(StoreError, match=message):
        import_pairs(tmp_path, place_of_name)


def test_the_whole_file_is_taken_before_its_parts(tmp_path):
    (tmp_path / "sample_size_full.json").write_text('{"a": {"a": 0.5}}')
    (tmp_path / "sample_size_full_part_7_9.json").write_text('{"a": {"a": 0.25}}')
    (pairs,) = import_pairs(tmp_path, place_of_name)
    assert pairs.products.cosine().tolist() == [[0.5]]


def test_a_truth_that_was_not_compared_is_there_without_energy(tmp_path):
    written(
        tmp_path,
        {"a": {"b": {Q: 1.0, UP: 1.0}}, "b": {"b": {Q: 1.0, UP: 1.0}}},
        found={"b": FOUND["b"]},
    )
    (pairs,) = import_pairs(tmp_path, place_of_name)
    assert pairs.products.originals == ("b", "a")
    assert pairs.truth.original.tolist() == [1, 0]
    assert pairs.products.original_energy[1].tolist() == [0, 0]
    files = export_pairs(tmp_path / "out", pairs)
    assert json.loads(files[2].read_text()) == {"b": FOUND["b"]}


def test_each_set_of_queries_is_read(tmp_path):
    for setting in ("model_generated", "bm25_selected"):
        written(tmp_path / setting / "m" / "sample_size" / "2")
    found = import_pairs(tmp_path, place_of_name)
    assert [pairs.truth.sets[0] for pairs in found] == ["paraphrased", "generated"]


def test_projections_come_in_by_set_and_size(tmp_path):
    place = tmp_path / "random_projection" / "model_generated"
    place.mkdir(parents=True)
    for part, query in (("0_1", "a"), ("1_2", "b")):
        rows = {"512": {query: {query: 0.5}}, "1024": {query: {query: 0.25}}}
        (place / f"sample_size_2_part_{part}.json").write_text(json.dumps(rows))
    found = import_projections(tmp_path)
    assert found.keys() == {"generated"}
    by_size = {n: one.products.cosine() for n, one in found["generated"].items()}
    assert by_size[512].tolist() == [[0.5], [0.5]]
    assert by_size[1024].tolist() == [[0.25], [0.25]]
    assert found["generated"][512].products.queries == ("a", "b")
    written(tmp_path / "generated")
    (pairs,) = import_pairs(tmp_path, place_of_name)
    assert len(pairs.products.tensors) == 2


def test_what_is_no_projection_is_refused(tmp_path):
    place = tmp_path / "random_projection"
    place.mkdir()
    (place / "sample_size_2.json").write_text('{"a": {"a": 0.5}}')
    with pytest.raises(StoreError, match=r"2\.json: a: is no size of a projection"):
        import_projections(tmp_path)
    assert import_projections(written(tmp_path / "other")) == {}


def _broken(folder, name, was, now):
    file = written(folder) / f"{name}.json"
    text = file.read_text()
    assert was in text
    file.write_text(text.replace(was, now, 1))


@pytest.mark.parametrize(
    ("name", "was", "now", "message"),
    [
        ("dot_products", "-1.0", '"x"', f"a: b: {Q}: 'x' is no finite number"),
        ("dot_products", "-1.0", "NaN", f"a: b: {Q}: nan is no finite number"),
        ("dot_products", "-1.0", "true", "True is no finite number"),
        ("dot_products", UP, "odd", "a: a: .* is here or in other rows, but not in"),
        ("dot_products", '"c"', '"d"', "'b' was compared with 'd', of which"),
        ("dot_products", '"c"', '"b"', "what 'b' is: 'b' stands there twice"),
        ("paraphrased_dot_products", '"b"', '"z"', "'b' is missing, which dot_pro"),
        ("original_dot_products", "{", "[", "expected {, found"),
    ],
)
def test_damage_is_named_with_its_place(tmp_path, name, was, now, message):
    _broken(tmp_path, name, was, now)
    with pytest.raises(StoreError, match=message) as refused:
        import_pairs(tmp_path, place_of_name)
    assert str(tmp_path) in str(refused.value)


def test_what_is_missing_or_too_much_is_named(tmp_path):
    with pytest.raises(StoreError, match="there is no such folder"):
        import_pairs(tmp_path / "none", place_of_name)
    with pytest.raises(StoreError, match=r"holds neither `dot_products.json` nor"):
        import_pairs(tmp_path, place_of_name)
    one = written(tmp_path / "one")
    (one / "original_dot_products.json").unlink()
    with pytest.raises(StoreError, match=r"original_dot_products.json is missing"):
        import_pairs(tmp_path, place_of_name)
    written(one)
    written(tmp_path / "two")
    with pytest.raises(StoreError, match="more than one result for the paraphrased"):
        import_pairs(tmp_path, place_of_name)


def test_queries_and_originals_without_common_ids_are_refused(tmp_path):
    (tmp_path / "sample_size_2.json").write_text('{"p": {"o": 0.5}}')
    with pytest.raises(StoreError, match="no query has the id of an original"):
        import_pairs(tmp_path, place_of_name)
    (tmp_path / "sample_size_2.json").write_text("{}")
    with pytest.raises(StoreError, match=r"sample_size_2\.json: holds no query"):
        import_pairs(tmp_path, place_of_name)


def test_versions_of_one_original_have_no_names_in_this_shape(tmp_path):
    products, truth = made_pairs()
    twice = replace(truth, original=truth.original // 2)
    with pytest.raises(StoreError, match="several versions in the paraphrased set"):
        export_pairs(tmp_path, Pairs(products=products, truth=twice))


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_members_are_read_however_much_is_read_at_a_time(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_members, "_CHUNK", chunk)
    value = {"a": {'b\n"': [1, -2.5e-07, True]}, "ü{": 1234567, "c": {}, "d": "}"}
    for text in (json.dumps(value), json.dumps(value, indent=4, ensure_ascii=False)):
        (tmp_path / "f").write_text(text, encoding="utf-8")
        assert dict(read_members(tmp_path / "f")) == value


def test_members_are_written_as_a_whole_object_is(tmp_path):
    for value in ({}, {"a": {"b\n": 1.5, "c": {}}, "ü": [1, 2]}):
        write_members(tmp_path / "f", value.items())
        assert (tmp_path / "f").read_text() == json.dumps(value, indent=4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "character 0: expected {, found ''"),
        ('{"a": 1', "expected ,"),
        ('{"a": 1} 2', "expected the end of the file, found '2'"),
        ('{"a": [1}', "expected what 'a' is"),
        ("{1: 2}", "expected a name"),
        ('{"a": 1, "a": 2}', "'a' stands there twice"),
    ],
)
def test_what_is_no_object_is_refused(tmp_path, text, message):
    (tmp_path / "f").write_text(text)
    with pytest.raises(StoreError, match=message):
        list(read_members(tmp_path / "f"))


def test_sets_of_other_names_come_back_under_them(tmp_path):
    for name in ("reworded", "paraphrased"):
        products, truth = made_pairs()
        named = replace(truth, sets=(name,) * len(truth.sets))
        export_pairs(tmp_path, Pairs(products=products, truth=named))
    found = import_pairs(tmp_path, place_of_name)
    assert sorted(one.truth.sets[0] for one in found) == ["paraphrased", "reworded"]
