"""Is every file, body and signature small enough to be read at one go?"""

import ast
from pathlib import Path

import pytest

SOURCES = sorted((Path(__file__).parents[2] / "src/driftmap").rglob("*.py"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _body_lines(function):
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def _num_parameters(function):
    names = function.args
    own = [*names.posonlyargs, *names.args, *names.kwonlyargs]
    return len([a for a in own if a.arg not in ("self", "cls")])


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_file_bodies_and_signatures_are_small(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400, f"{path}: split this file"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, FUNCTIONS):
            where = f"{path}:{node.lineno} {node.name}"
            assert _body_lines(node) <= 40, f"{where}: the body is too long"
            assert _num_parameters(node) <= 6, f"{where}: too many parameters"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_every_module_begins_with_what_it_answers(path):
    assert ast.get_docstring(ast.parse(path.read_text())), path


def test_a_recipe_is_short_enough_to_be_read_as_one_sentence():
    recipes = [p for p in SOURCES if p.parent.name == "recipes"]
    for path in recipes:
        if not path.name.endswith(("options.py", "saved.py", "__init__.py")):
            assert len(path.read_text().splitlines()) <= 120, path
