from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driftmap.core.errors import StoreError
from driftmap.store.recipe_file import (
    differing,
    load_recipe,
    plain_recipe,
    save_recipe,
)

SETTINGS = {
    "model": {"path": Path("org/model"), "revision": None, "api_key": "sk-1"},
    "learning_rate": 1e-4,
    "tiny": 1e-12,
    "parts": ("q", "v"),
    "hf_token": "hf_2",
    "pad_token": "<pad>",
    "max_new_tokens": 8,
    "endpoint": "https://me:secret@host:8000/v1",
    "note": "yes: it's grün",
}


def test_the_bytes_are_pinned_and_hold_no_secret(tmp_path):
    save_recipe(tmp_path / "run.yaml", SETTINGS, "drift")
    assert (tmp_path / "run.yaml").read_text(encoding="utf-8") == (
        "kind: drift\n"
        "version: 1\n"
        "model:\n"
        "  path: org/model\n"
        "  revision: null\n"
        "learning_rate: 0.0001\n"
        "tiny: 1.0e-12\n"
        "parts:\n"
        "- q\n"
        "- v\n"
        "pad_token: <pad>\n"
        "max_new_tokens: 8\n"
        "endpoint: https://host:8000/v1\n"
        'note: "yes: it\'s gr\\xFCn"\n'
    )


@pytest.mark.parametrize(
    "name",
    ["token", "password", "HF_TOKEN", "api_key", "openai_apikey", "db_password",
     "client_secret", "auth_token", "access_token"],
)  # fmt: skip
def test_secrets_are_left_out(name):
    assert plain_recipe({name: "x", "a": {name: "y"}}) == {"a": {}}


texts = st.text(st.characters(codec="utf-8"), min_size=1)
names = st.from_regex(r"[a-z]{1,8}", fullmatch=True).filter(
    lambda n: n not in ("kind", "version", "token", "secret", "password", "apikey")
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts.filter(lambda t: "@" not in t)
)
settings = st.dictionaries(
    names, leaves | st.lists(leaves) | st.dictionaries(names, leaves)
)


@given(settings)
def test_plain_settings_round_trip(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("recipe") / "run.yaml"
    save_recipe(path, value, "drift")
    saved = load_recipe(path)
    assert saved.kind == "drift"
    assert saved.settings == value
    assert list(saved.settings) == list(value)


def test_a_run_folder_stands_for_its_recipe(tmp_path):
    save_recipe(tmp_path / "run.yaml", {"seed": 3}, "score")
    assert load_recipe(tmp_path) == load_recipe(tmp_path / "run.yaml")


def test_an_equal_recipe_is_not_written_again(tmp_path):
    path = tmp_path / "run.yaml"
    save_recipe(path, {"seed": 3}, "score")
    before = path.stat().st_mtime_ns
    save_recipe(path, {"seed": 3}, "score")
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"a: [", "is damaged or not YAML"),
        (b"\xff\xfe\xff", "is damaged or not YAML"),
        (b"!!python/object:os.system {}", "is damaged or not YAML"),
        (b"seed: 1", "does not say which command it is for; it needs a line such as"),
        (b"- 1", "does not say which command"),
        (b"kind: drift\nversion: 2", "is of version 2, this driftmap reads up to 1"),
        (b"kind: drift\nversion: x", "is of version x"),
        (b"kind: drift\nday: 2024-01-01", "day: a date cannot be kept in a file"),
    ],
)
def test_damaged_recipes_are_named(tmp_path, text, told):
    path = tmp_path / "run.yaml"
    path.write_bytes(text)
    with pytest.raises(StoreError, match=told):
        load_recipe(path)


def test_a_missing_recipe_is_named(tmp_path):
    with pytest.raises(StoreError, match="no such file; name a run folder or a saved"):
        load_recipe(tmp_path / "x.yaml")


def test_differences_are_by_dotted_name():
    old = {"a": {"b": 1, "c": {}}, "d": [1], "gone": 0}
    new = {"a": {"b": 1, "c": {"e": 2}}, "d": [2], "abc": 1}
    assert differing(old, old, ()) == []
    assert differing(old, new, ("ab",)) == [
        "a.c {} (now not set)", "d [1] (now [2])", "gone 0 (now not set)",
        "a.c.e not set (now 2)", "abc not set (now 1)",
    ]  # fmt: skip
    assert differing(old, new, ("a", "d", "gone", "abc")) == []
