"""Does a person with own data get through a study from the how-to page alone?"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from driftmap.cli.main import main

PAGE = Path(__file__).parents[2] / "docs/how-to/bring-your-own-data.md"
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HUB_SET = "yahma/alpaca-cleaned"


def commands():
    """What the shell blocks of the page say, in order."""
    return [
        shlex.split(block.replace("\\\n", " "))
        for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8"))
        if language == "sh"
    ]


def command_with(word):
    (found,) = (words for words in commands() if any(word in w for w in words))
    assert found[0] == "driftmap"
    return found[1:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where a person stands who ran every Python block of the page."""
    folder = tmp_path_factory.mktemp("own")
    before = Path.cwd()
    os.chdir(folder)
    try:
        names = {}
        for language, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
            if language == "python":
                exec(block, names)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def there(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def out_of(words):
    return Path(words[words.index("--out") + 1])


def check_report(words):
    report = out_of(words) / "report.html"
    assert report.stat().st_size > 10_000


def test_the_page_shows_one_study_for_each_kind_of_source():
    studies = [words for words in commands() if words[1] == "drift"]
    assert len(studies) == 3
    assert sum("mine.py:sums" in words for words in studies) == 1
    assert sum(HUB_SET in words for words in studies) == 1
    assert all("--columns" in words for words in studies)


@pytest.mark.slow
@pytest.mark.parametrize("out", ["runs/columns", "runs/function"])
def test_a_file_and_a_function_of_ones_own(there, out, capsys):
    words = command_with(out)
    assert main(words) == 0, capsys.readouterr().err
    check_report(words)


@pytest.mark.slow
def test_a_hub_name_with_the_hub_made_up(there, monkeypatch, capsys):
    import datasets

    rows = [
        {"instruction": f"Name number {n}.", "input": "", "output": f"It is {n}."}
        for n in range(40)
    ]

    def load(name, config, split):
        assert (name, config, split) == (HUB_SET, None, "train")
        return datasets.Dataset.from_list(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    words = command_with(HUB_SET)
    assert main(words) == 0, capsys.readouterr().err
    check_report(words)


@pytest.mark.slow
@pytest.mark.skipif(
    "DRIFTMAP_TEST_HUB" not in os.environ,
    reason="needs the hub; run it with DRIFTMAP_TEST_HUB=1 where there is a network",
)
def test_a_hub_name(there, tmp_path):
    words = command_with(HUB_SET)
    words[words.index("--out") + 1] = str(tmp_path / "out")
    online = {k: v for k, v in os.environ.items() if not k.endswith("_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", "from driftmap.cli.main import main\nmain()", *words],
        env=online, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    check_report(words)


def test_the_list_of_known_sets(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path))
    assert main(command_with("list")) == 0
    told = capsys.readouterr().out
    for name in re.findall(r"^\| `(a\w+)` \|", PAGE.read_text(), re.MULTILINE):
        assert f"\n{name} " in told


SAME = """
ROWS = [(f"what is {n}", f"it is {n}") for n in range(12)]

def own():
    for ask, answer in ROWS:
        yield {"question": ask, "answer": answer}
"""


@pytest.mark.slow
def test_the_same_rows_from_a_file_and_a_function_are_the_same_study(there, tmp_path):
    (tmp_path / "same.py").write_text(SAME)
    lines = ["question,answer", *(f"what is {n},it is {n}" for n in range(12))]
    (tmp_path / "same.own.csv").write_text("\n".join(lines) + "\n")
    words = command_with("runs/columns")
    made = []
    for source in ("same.own.csv", "same.py:own"):
        own = [w.replace("quiz.csv", str(tmp_path / source)) for w in words]
        own[own.index("--out") + 1] = str(tmp_path / f"out{len(made)}")
        assert main([*own, "--until", "tune"]) == 0
        made.append(
            {
                file.relative_to(out_of(own)).as_posix(): file.read_bytes()
                for file in sorted(out_of(own).rglob("*"))
                if file.suffix in (".parquet", ".safetensors")
            }
        )
    assert made[0]
    assert made[0] == made[1]
