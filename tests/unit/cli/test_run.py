import json

import pytest

from driftmap.cli.main import main


@pytest.mark.parametrize(
    ("text", "expected", "code"),
    [
        ("kind: report\nRUN: r\ncolour: red\n", "Unknown option: --colour", 2),
        ("kind: drfit\n", 'Unknown command "drfit"', 2),
        ("kind: demo\nseed: lots\n", 'unable to convert "lots" into int', 2),
        ("model: m\n", "it needs a line such as `kind: drift`", 1),
    ],
)
def test_mistakes_in_a_file_are_those_of_the_words(
    text, expected, code, tmp_path, capsys
):
    file = tmp_path / "study.yaml"
    file.write_text(text)
    assert main(["run", str(file)]) == code
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert expected in told
    assert told.count("\n") == 1


def test_a_missing_file(tmp_path, capsys):
    assert main(["run", str(tmp_path / "no.yaml")]) == 1
    assert "no.yaml: there is no such file" in capsys.readouterr().err


def test_a_run_is_repeated_from_its_own_folder(model, data, tmp_path, capsys):
    file = tmp_path / "study.yaml"
    file.write_text(
        f"kind: score\nmodel: {model}\ndata: {data['utility']}\nnum_samples: 2\n"
        f"out: {tmp_path / 'first'}\n"
    )
    assert main(["run", str(file)]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'first'}\n"
    (tmp_path / "first").rename(tmp_path / "moved")
    marker = tmp_path / "moved/steps/score.json"
    before = marker.stat().st_mtime_ns
    assert main(["run", str(tmp_path / "moved/run.yaml")]) == 0
    assert marker.stat().st_mtime_ns == before
    assert capsys.readouterr().out == f"{tmp_path / 'moved'}\n"
    assert main(["run", str(file), "--out", str(tmp_path / "second")]) == 0
    again = json.loads((tmp_path / "second/steps/score.json").read_text())
    assert again == json.loads(marker.read_text())
