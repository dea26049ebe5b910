"""Does every example in the documentation still run?"""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from driftmap.cli.commands import app, meant
from driftmap.recipes.steps.study.files import find_study

ROOT = Path(__file__).parents[2]
NOT_NEEDED = ("cd", "hf", "uv")
"""Commands that the pages name and the tests do without."""
LAUNCHERS = ("torchrun", "accelerate")
"""Commands that start several processes of the module after `-m`."""

PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
)
PYTHON = Sybil(parsers=[PythonCodeBlockParser()], path=str(ROOT))
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")


def _names(pages):
    return [page.relative_to(ROOT).as_posix() for page in pages]


def _with(pattern):
    return [
        page for page in PAGES if re.search(pattern, page.read_text(), re.MULTILINE)
    ]


def _commands(page):
    """Simple commands of a page's shell blocks, as lists of words."""
    for block in SHELL.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                simple = words[:end]
                while simple and re.fullmatch(r"[A-Z_]+=.*", simple[0]):
                    simple = simple[1:]
                yield simple[: simple.index(">")] if ">" in simple else simple
                words = words[end + 1 :]


PYTHON_PAGES = _with("^```python$")
SHELL_PAGES = _with("^```sh$")


@pytest.mark.parametrize("page", PYTHON_PAGES, ids=_names(PYTHON_PAGES))
def test_python_blocks_run_top_to_bottom(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in PYTHON.parse(page).examples():
        example.evaluate()


@pytest.mark.parametrize("page", SHELL_PAGES, ids=_names(SHELL_PAGES))
def test_shell_blocks_hold_commands_and_options_that_exist(page):
    for words in _commands(page):
        if words[0] in LAUNCHERS:
            words = words[words.index("-m") + 1 :]
        if Path(words[0]).name == "driftmap":
            for command in _as_commands(words[1:]):
                app.parse_args(meant(command), exit_on_error=False, print_error=False)
        else:
            assert _exists(words[0]), f"{shlex.join(words)}: no such command"


@pytest.mark.parametrize("page", PAGES, ids=_names(PAGES))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_reference_of_the_command_line_is_up_to_date():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from make_reference import PAGE, cli_page
    finally:
        sys.path.pop(0)
    written = PAGE.read_text(encoding="utf-8")
    assert written == cli_page(), "run `python docs/make_reference.py`"


def _as_commands(words):
    """The command itself; for `run`, its own words and what replaces options."""
    words = [word for word in words if word != "--debug"]
    if words[0] != "run":
        return [words]
    if words[1].endswith("study.yaml") or find_study(Path(words[1])) is not None:
        return [words, ["study", *words[1:]]]
    needed = ["--model", "m", "--behaviour", "b", "--utility", "u", "--tune-on", "t"]
    return [words, ["drift", *needed, *words[2:]]]


def _exists(command):
    if command.startswith(".venv/bin/"):
        return (Path(sys.executable).parent / Path(command).name).exists()
    if command.startswith("./"):
        return (ROOT / command).exists()
    return command in NOT_NEEDED or shutil.which(command) is not None
