"""Every notebook under docs runs on the built-in models, cell by cell, and draws."""

import ast
import json
from pathlib import Path

import pytest

from driftmap.notebook import Part, Run
from driftmap.recipes.steps import pages

HOME = Path(__file__).parents[2] / "docs/notebooks"
NOTEBOOKS = sorted(HOME.glob("*.ipynb"))
QUESTIONS = (
    "attention", "compare", "drift", "edit", "experts", "read", "similarity", "trace",
)  # fmt: skip


def cells(file, kind):
    told = json.loads(file.read_text())["cells"]
    return ["".join(cell["source"]) for cell in told if cell["cell_type"] == kind]


def run_cell(source, names):
    """Do what a kernel does with a cell; the value of a last expression."""
    tree = ast.parse(source)
    last = tree.body[-1]
    shown = None
    if isinstance(last, ast.Expr):
        tree.body.pop()
        shown = ast.Expression(last.value)
    exec(compile(tree, "cell", "exec"), names)
    return None if shown is None else eval(compile(shown, "cell", "eval"), names)


def test_there_is_one_for_each_question():
    assert tuple(file.stem for file in NOTEBOOKS) == QUESTIONS


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_short_and_holds_no_output(file):
    told = json.loads(file.read_text())
    assert 5 <= len(told["cells"]) <= 8
    assert cells(file, "markdown")[0].startswith("# ")
    for cell in told["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        for line in "".join(cell["source"]).splitlines():
            assert cell["cell_type"] == "markdown" or len(line) <= 88


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """One folder for all, as beside each other: a run that two make is made once."""
    return tmp_path_factory.mktemp("notebooks")


@pytest.fixture
def _caches(organism, moe_organism, monkeypatch, place):
    """The organisms of the session, and no pictures beside the report."""
    monkeypatch.setenv("DRIFTMAP_CACHE", str(organism.folder.parent))
    monkeypatch.setattr(pages, "save_pictures", lambda figures, folder: None)
    monkeypatch.chdir(place)


@pytest.mark.slow
@pytest.mark.usefixtures("_caches")
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_runs_and_draws(file):
    names, shown = {}, []
    for source in cells(file, "code"):
        value = run_cell(source, names)
        if isinstance(value, Run | Part):
            shown.append(value._repr_html_())
    assert len(shown) >= 2
    assert all(one.startswith('<div class="driftmap">') for one in shown)
    run = names["run"]
    assert run.page.title in shown[0] or "<code>" in shown[0]
    assert "data:image/svg+xml" in "".join(shown) or 'class="pieces"' in shown[0]
