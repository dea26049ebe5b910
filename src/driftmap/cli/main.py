"""Which words are understood, and how does a mistake end?

The words become a recipe, the recipe runs. A mistake that a person can mend is
one sentence and exit code 2 (usage) or 1 (data); anything else is a defect and
says how to see where it happened.
"""

import errno
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Protocol, runtime_checkable

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

import driftmap
from driftmap.cli.progress import listener_for
from driftmap.core.errors import DriftmapError
from driftmap.core.progress import listening
from driftmap.recipes.demo import Demo
from driftmap.recipes.drift import Drift
from driftmap.recipes.report import Report
from driftmap.recipes.score import Score

TROUBLE = "docs/how-to/troubleshooting.md"
"""Where the topics of errors are explained; its path in the project's repository."""

EPILOGUE = (
    "`driftmap COMMAND --help` explains every option. "
    "`--debug` after any command shows where an error came from. "
    "A command that was interrupted goes on when it is repeated."
)


@runtime_checkable
class Recipe(Protocol):
    """What every command makes of its words."""

    def run(self) -> Path:
        """Do the work; return what a person should open."""
        ...


app = App(
    name="driftmap",
    help="Map where behaviours live inside a language model and how tuning moves them.",
    help_epilogue=EPILOGUE,
    version=driftmap.__version__,
    help_format="markdown",
    result_action="return_value",
    exit_on_error=False,
    print_error=False,
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative_iterable=()),
)
app.command(Demo, name="demo", sort_key=1)
app.command(Drift, name="drift", sort_key=2)
app.command(Score, name="score", sort_key=3)
app.command(Report, name="report", sort_key=4)


@app.command(sort_key=5)
def run(
    file: Path, /, *options: Annotated[str, Parameter(allow_leading_hyphen=True)]
) -> object:
    """Run a saved recipe: a study of your own, or the `run.yaml` of a run.

    Args:
        file: YAML file with `kind: drift` (or another command) and the options of
            that command, as in `tune_on: alpaca.json`; or a run folder.
        options: Options that replace those of the file, as in `--seeds 5`.
    """
    from driftmap.recipes.saved import words_of

    return app(words_of(file, options))


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; the return value is the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    debug = "--debug" in words
    errors = Console(stderr=True)
    try:
        with listening(listener_for(errors)):
            recipe = app([w for w in words if w != "--debug"])
            if isinstance(recipe, Recipe):
                print(recipe.run())  # noqa: T201
    except KeyboardInterrupt:
        _say(errors, "interrupted; the same command goes on from here")
        return 130
    except Exception as error:  # noqa: BLE001  the last one to hear of it
        if debug:
            errors.print_exception(show_locals=False)
        _say(errors, f"error: {_sentence(error)}")
        return _exit_code(error)
    return 0


def _exit_code(error: Exception) -> int:
    if isinstance(error, DriftmapError):
        return error.exit_code
    return 2 if isinstance(error, CycloptsError) else 1


def _sentence(error: Exception) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, DriftmapError):
        return f"{said}; see {TROUBLE}#{error.topic}" if error.topic else said
    if isinstance(error, CycloptsError):
        command = " ".join(["driftmap", *(error.command_chain or ())])
        return f"{said.rstrip('.')}; see `{command} --help`"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "the run folder"
        return (
            f"{where}: the disk is full; free some space and repeat; see {TROUBLE}#disk"
        )
    return (
        f"{type(error).__name__}: {said} (this should not happen; `--debug` shows "
        "where)"
    )


def _say(console: Console, message: str) -> None:
    console.print(message, highlight=False, markup=False, soft_wrap=True)
