"""Does the help teach a newcomer, in 80 columns, at once?"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from driftmap.cli.main import main

COMMANDS = (
    "demo", "drift", "score", "ablate", "freeze", "evaluate", "report", "clean", "data",
    "run",
)  # fmt: skip
DRIFTMAP = Path(sys.executable).with_name("driftmap")
NO_DEFAULT = re.compile(r"\[(default: .+|required)\]|by default")


UNIT = re.compile(r"\([^()]+\)[.;]")
"""What kind of value an option takes, at the end of its first clause."""


def help_of(*words):
    done = subprocess.run(
        [str(DRIFTMAP), *words, "--help"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "COLUMNS": "80"},
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in {"data", "run"}])
def test_every_option_has_a_sentence_and_a_default(command, capsys):
    assert main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    boxes = shown[shown.find("╭") : shown.rfind("╰")].replace("│", " ")
    text = " ".join(boxes.split())
    starts = [m.start() for m in re.finditer(r"(?<!\w)--[a-z][a-z-]+ [A-Z]+", text)]
    entries = [text[a:b] for a, b in zip(starts, [*starts, len(text)][1:], strict=True)]
    assert entries or command in ("report", "clean")
    for entry in entries:
        assert NO_DEFAULT.search(entry), entry
        assert "." in entry, entry
        assert UNIT.search(entry) or "[choices: " in entry, entry


def test_options_stand_under_titles():
    text = help_of("drift")
    titles = re.findall(r"╭─ (\w+) ─", text)
    assert titles == [
        "Model", "Data", "Scoring", "Groups", "Tuning", "Evaluation", "Testing", "Run",
    ]  # fmt: skip
    assert max(map(len, text.splitlines())) <= 80


def test_the_first_help_names_every_command_with_a_sentence(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"│ {command} +\w+", text), command
    assert "--debug" in text


@pytest.mark.slow
def test_help_answers_at_once():
    seconds = []
    for _ in range(5):
        begin = os.times()
        help_of()
        end = os.times()
        seconds.append(
            end.children_user + end.children_system
            - begin.children_user - begin.children_system
        )  # fmt: skip
    assert min(seconds) < 1, seconds


def test_the_help_ends_on_the_narrowest_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1")
    assert main(["report", "--help"]) == 0
    assert capsys.readouterr().out
