import os
import subprocess
import sys

import pytest

from driftmap.load.known_sets import KNOWN_SETS
from driftmap.recipes.data_list import DataList
from tiny_studies import write_rows


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIFTMAP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "hub"))
    return tmp_path / "cache" / "data"


def on_a_terminal(monkeypatch, columns):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    return DataList().run()


def test_a_pipe_gets_one_line_a_set(cache):
    lines = DataList().run().splitlines()
    assert " ".join(lines[0].split()) == (
        "name what it is licence on this machine source"
    )
    for known, line in zip(KNOWN_SETS, lines[2:], strict=False):
        assert line.split()[0] == known.name
        assert known.licence in line
        assert known.what in line
        assert line.endswith(known.origin.page)
    assert lines[-1].endswith(f"Copies of your own go to {cache}")
    assert "not on this machine is downloaded when it is used" in lines[-1]


def test_what_is_here_is_said_with_its_place(cache):
    cache.mkdir(parents=True)
    copy = write_rows(cache / "alpaca.jsonl", [{"instruction": "a", "output": "b"}])
    listed = {line.split()[0]: line for line in DataList().run().splitlines() if line}
    assert str(copy) in listed["alpaca"]
    assert str(cache) not in listed["alpaca_cleaned"]


@pytest.mark.parametrize("columns", [100, 130, 200])
def test_a_table_is_no_wider_than_the_terminal(monkeypatch, columns):
    listed = on_a_terminal(monkeypatch, columns)
    table = listed.split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= columns
    assert all(known.name in listed for known in KNOWN_SETS)


def test_a_narrow_terminal_gets_a_block_a_set(monkeypatch):
    blocks = on_a_terminal(monkeypatch, 40).split("\n\n")
    assert len(blocks) == len(KNOWN_SETS) + 1
    assert blocks[0].splitlines()[:3] == [
        "align",
        f"  what it is: {KNOWN_SETS[0].what}",
        "  licence: MIT",
    ]


def test_it_needs_neither_torch_nor_the_hub_library():
    code = (
        "import sys; from driftmap.recipes.data_list import DataList; "
        "DataList().run(); print({'torch', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, check=True, env=dict(os.environ),
    )  # fmt: skip
    assert done.stdout == "set()\n"
