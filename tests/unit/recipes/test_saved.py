from dataclasses import asdict

import pytest

from driftmap.cli.main import app
from driftmap.core.errors import StoreError, UsageError
from driftmap.recipes.drift import Drift
from driftmap.recipes.saved import words_of
from driftmap.store.recipe_file import save_recipe


def parsed(words):
    command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
    return command(*bound.args, **bound.kwargs)


def test_a_saved_recipe_is_the_same_recipe(tmp_path):
    words = [
        "drift", "--model=-m", "--behaviour=a b.csv", "--utility=u", "--tune-on=t",
        "--lora-parts=q", "--lora-parts=v", "--learning-rate=1e-5", "--memory=0.5",
        "--held-out=x", "--trust-remote-code", "--until=tune", "--out=o",
    ]  # fmt: skip
    study = parsed(words)
    assert isinstance(study, Drift)
    save_recipe(tmp_path / "run.yaml", asdict(study), "drift")
    assert parsed(words_of(tmp_path / "run.yaml")) == study


def test_a_file_of_a_person(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "kind: score\nmodel: m\nnum-samples: 3\nscore_batch_size: 2\nkeep: true\n"
        "lora:\n  share: 1e-2\nseed: null\n"
    )
    assert words_of(file) == [
        "score", "--model=m", "--num-samples=3", "--score-batch-size=2", "--keep",
        "--share=1e-2",
    ]  # fmt: skip


def test_further_words_replace_those_of_the_file(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("kind: score\nmodel: m\nkeep: false\nout: here\n")
    more = ["--keep", "--out", "there"]
    assert words_of(file, more) == ["score", "--model=m", *more]


def test_a_run_that_was_moved_is_repeated_where_it_is(tmp_path):
    (tmp_path / "steps").mkdir()
    (tmp_path / "run.yaml").write_text("kind: score\nout: somewhere/else\n")
    for named in (tmp_path, tmp_path / "run.yaml"):
        assert words_of(named) == ["score", f"--out={tmp_path}"]
    assert words_of(tmp_path, ["--out=b"]) == ["score", "--out=b"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: m", "does not say which command it is for"),
        ("- a\n- b", "does not say which command it is for"),
        ("kind: [", "is damaged or not YAML"),
        ("kind: drift\nversion: 99", "is of version 99"),
    ],
)
def test_files_that_are_no_recipe(text, expected, tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(StoreError, match=expected):
        words_of(file)


def test_a_value_that_is_not_plain(tmp_path):
    file = tmp_path / "study.yaml"
    file.write_text("kind: drift\nheld_out: [[a]]\n")
    with pytest.raises(UsageError, match=r"held-out is .* give one plain value"):
        words_of(file)
