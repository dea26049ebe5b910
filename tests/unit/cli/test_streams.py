"""Does a study outlive whoever reads its output, whatever letters they can read?"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from driftmap.cli.main import main
from terminals import lines_of, on_terminal

DRIFTMAP = str(Path(sys.executable).with_name("driftmap"))


def shell(line, **environment):
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "D": DRIFTMAP, **environment},
    )  # fmt: skip


def score(model, data, out):
    return f"score --model={model} --data={data['utility']} --num-samples=2 --out={out}"


@pytest.mark.parametrize(
    ("line", "seen"),
    [
        ("$D drift --help | head -1", "Usage: driftmap drift"),
        ("$D --help 2>&1 | head -c 5", "Usage"),
        ("$D drift --colour 2>&1 | true", ""),
        ("$D --version >&-", ""),
        ("$D --version >&- 2>&-", ""),
    ],
)
def test_a_reader_who_leaves_hears_no_noise(line, seen):
    done = shell(line)
    assert done.stdout.startswith(seen)
    assert done.stderr == ""


def test_a_full_disk_behind_the_output_is_one_sentence():
    done = shell("$D --version > /dev/full")
    assert done.returncode == 1
    assert done.stderr == (
        "error: what is written: the disk is full; free some space and repeat; see "
        "docs/how-to/troubleshooting.md#disk\n"
    )


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["| true", "2>&1 | head -1", ">&- 2>&-"])
def test_the_work_goes_on_without_a_reader(ending, model, data, tmp_path):
    out = tmp_path / "out"
    done = shell(f"$D {score(model, data, out)} {ending}")
    assert "Traceback" not in done.stderr + done.stdout
    assert "BrokenPipe" not in done.stderr + done.stdout
    assert done.returncode == 0, done.stderr
    assert (out / "log.txt").read_text().endswith("score: done\n")


@pytest.mark.slow
def test_a_study_on_a_narrow_terminal_ends_with_its_folder(model, data, tmp_path):
    words = score(model, data, tmp_path / "out").split()
    lines = lines_of(on_terminal([DRIFTMAP, *words], [20, 9, 33]))
    assert lines[-1] == str(tmp_path / "out")
    drawn = [line for line in lines[:-1] if not line.startswith("what is left to do")]
    assert len(drawn) == len(lines) - 2
    assert max(map(len, drawn)) < 33


def test_help_and_errors_on_a_console_of_few_letters():
    for encoding in ("ascii", "latin-1"):
        done = shell("$D drift --help", PYTHONIOENCODING=encoding)
        assert done.returncode == 0, done.stderr
        assert "--behaviour" in done.stdout
    done = shell("$D report ./größe", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert done.stderr.startswith(r"error: gr\xf6\xdfe: there is no such file")


def test_a_path_that_the_console_cannot_show(capsys, monkeypatch, tmp_path):
    """A file name may hold bytes that are no letters at all."""

    class Named:
        def run(self):
            return tmp_path / os.fsdecode(b"r\xff")

    monkeypatch.setattr("driftmap.cli.main.app", lambda _: Named())
    assert main(["anything"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/r\\udcff\n"


def test_the_streams_are_put_back(capsys):
    before = sys.stdout, sys.stderr
    assert main(["--version"]) == 0
    assert main(["nonsense"]) == 2
    assert (sys.stdout, sys.stderr) == before
