"""Which words of `driftmap evaluate` are refused before any work, and how?"""

import pytest

from driftmap.cli.main import main
from driftmap.core.errors import UsageError
from driftmap.load.source import ModelSource
from driftmap.recipes.evaluate import Evaluate
from driftmap.recipes.steps.evaluating.comparing import require_same_reading
from driftmap.recipes.utility_options import UtilityOptions
from driftmap.store.recipe_file import save_recipe


def said_of(words, capsys):
    code = main(["evaluate", "--model=m", *words])
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    return code, error.removeprefix("error: ")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "there is nothing to evaluate; name requests with --refusal-prompts,"),
        (["--harmless-prompts=g.jsonl"], "there is nothing to evaluate; name"),
        (
            ["--perplexity=t.txt", "--harmless-prompts=g.jsonl"],
            "--harmless-prompts: there are no requests that it could be about; name "
            "them with --refusal-prompts",
        ),
        (["--tasks=world", "--prefill=Sure"], "--prefill: there are no requests that"),
        (["--tasks=world", "--judge=gcg31"], "--judge: there are no requests that it"),
        (
            ["--tasks=world", "--endpoint-answers", "--endpoint-model=m"],
            "--endpoint-model: there are no requests that it could be about;",
        ),
        (
            ["--refusal-prompts=b.jsonl", "--window=64"],
            "--window: no text is read; name one with --perplexity",
        ),
        (
            ["--refusal-prompts=b.jsonl", "--limit=3"],
            "--limit: no task is run; name one with --tasks",
        ),
        (
            ["--tasks=world:1", "--tasks-as-chat"],
            "--tasks-as-chat: no task of lm-eval is run; name one with --tasks",
        ),
        (["--tasks=world", "--task-folder=."], "--task-folder: no task of lm-eval is"),
        (["--perplexity=t.txt", "--window=1"], "--window is 1; give at least 2"),
        (["--tasks=world", "--limit=0"], "--limit is 0; give at least 1"),
        (["--tasks=world:x"], "--tasks world:x: a world is named by a whole number,"),
        (
            ["--refusal-prompts=b.jsonl", "--endpoint=http://h/v1"],
            "--endpoint: nothing would be asked of this server; give --judge endpoint",
        ),
        (
            ["--refusal-prompts=b.jsonl", "--judge=endpoint"],
            "--endpoint-model is missing; give the server's name for its model",
        ),
    ],
)
def test_words_that_nothing_would_come_of_are_refused(words, text, capsys):
    code, error = said_of(words, capsys)
    assert code == 2
    assert error.startswith(text)


def test_a_folder_of_tasks_must_be_there(tmp_path, capsys):
    words = ["--tasks=mine", f"--task-folder={tmp_path / 'none'}"]
    code, error = said_of([*words, f"--out={tmp_path / 'run'}"], capsys)
    assert code == 1
    assert error.endswith(
        "there is no such folder; give one that holds YAML files of tasks"
    )
    assert not (tmp_path / "run").exists()


def test_where_and_how_fast_may_be_said_without_requests():
    Evaluate(
        source=ModelSource(model="m"), utility=UtilityOptions(perplexity=("t.txt",))
    )


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        (
            {"tasks": ["a"], "limit": 5},
            {"tasks": ("a",), "limit": 6},
            "--limit was 5 in that run and is 6 now; repeat that run's",
        ),
        (
            {"tasks": ["a", "b"]},
            {"tasks": ("b",)},
            "--tasks was a b in that run and is b now",
        ),
        (
            {"perplexity": ["x.txt"], "window": 32},
            {"perplexity": ("y.txt",)},
            "--window was 32 in that run and is not given now",
        ),
    ],
)
def test_an_earlier_run_that_read_otherwise_is_refused(tmp_path, before, now, text):
    held = {"tasks_as_chat": False, "limit": None, "window": None, **before}
    save_recipe(tmp_path / "run.yaml", {"utility": held}, "evaluate")
    with pytest.raises(UsageError, match=text):
        require_same_reading(UtilityOptions(**now), tmp_path)


def test_an_earlier_run_that_read_something_else_is_no_hindrance(tmp_path):
    held = {"tasks": [], "perplexity": ["x.txt"], "window": 32, "limit": None}
    save_recipe(tmp_path / "run.yaml", {"utility": held}, "evaluate")
    require_same_reading(UtilityOptions(tasks=("a",), limit=3), tmp_path)
