from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import StoreError
from driftmap.results.plain import to_plain
from driftmap.store.plain import load_json, parse_json, save_json, sorted_json

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False)
)
plain = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.dictionaries(st.text().filter(lambda k: k not in ("kind", "version")), plain))
def test_plain_values_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("plain") / "x.json"
    save_json(path, value, "driftmap.test")
    assert load_json(path, "driftmap.test") == value


def test_the_bytes_are_pinned(tmp_path):
    value = {"b": 0.1 + 0.2, "a": {"ä": [1, 1e-9]}, "n": None}
    save_json(tmp_path / "x.json", value, "driftmap.statistics")
    assert (tmp_path / "x.json").read_bytes() == (
        b'{\n  "a": {\n    "\\u00e4": [\n      1,\n      1e-09\n    ]\n  },\n'
        b'  "b": 0.30000000000000004,\n  "kind": "driftmap.statistics",\n'
        b'  "n": null,\n  "version": 1\n}\n'
    )


def test_key_order_changes_nothing():
    assert sorted_json({"a": 1, "b": 2}) == sorted_json({"b": 2, "a": 1})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_named(number):
    with pytest.raises(StoreError) as caught:
        to_plain({"drift": {"rho": [1.0, number]}})
    assert str(caught.value) == (
        f"drift.rho[1]: {number} is not a number a file may hold; "
        "leave it out or write None"
    )


@pytest.mark.parametrize("value", [np.float32(1), np.ones(2), {1, 2}, object()])
def test_other_types_are_named(value):
    with pytest.raises(StoreError, match=r"^a: a \w+ cannot be kept in a file; turn"):
        to_plain({"a": value})


def test_keys_are_text():
    with pytest.raises(StoreError, match="a: the key 1 is not text"):
        to_plain({"a": {1: 2}})


def test_kind_and_version_are_the_formats(tmp_path):
    with pytest.raises(AssertionError, match="the format's own"):
        save_json(tmp_path / "x", {"kind": "mine"}, "driftmap.test")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is damaged or not JSON"),
        ("{", "is damaged or not JSON"),
        ("\xff", "is damaged or not JSON"),
        ("[]", "holds no driftmap.test; was it written by driftmap"),
        ("{}", "holds no driftmap data, not driftmap.test; name the right file"),
        ('{"kind": "driftmap.other"}', "holds driftmap.other, not driftmap.test"),
        ('{"kind": "driftmap.test", "version": 2}', "of version 2, this driftmap"),
        ('{"kind": "driftmap.test"}', "of version None, this driftmap reads up to 1"),
    ],
)
def test_damaged_and_foreign_files_are_named(tmp_path, text, told):
    path = tmp_path / "x.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(StoreError, match=told) as caught:
        load_json(path, "driftmap.test")
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named():
    with pytest.raises(StoreError) as caught:
        parse_json(Path("/none/x.json"))
    assert str(caught.value) == "/none/x.json: there is no such file; check the name"
