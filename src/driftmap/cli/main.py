"""Which words are understood? They become a recipe, and the recipe runs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from traceback import format_exception
from typing import Annotated, Protocol, runtime_checkable

from cyclopts import App, Parameter
from rich.console import Console

import driftmap
from driftmap.cli.environment import environment, fill_in, without_defaults
from driftmap.cli.mistakes import exit_code, sentence
from driftmap.cli.progress import listener_for
from driftmap.cli.streams import sturdy_streams
from driftmap.core.progress import listening
from driftmap.core.secrets import redacted
from driftmap.recipes.demo import Demo
from driftmap.recipes.drift import Drift
from driftmap.recipes.report import Report
from driftmap.recipes.score import Score

EPILOGUE = (
    "`driftmap COMMAND --help` explains every option. "
    "`--debug` after any command shows where an error came from. "
    "A command that was interrupted goes on when it is repeated. "
    "`DRIFTMAP_MODEL`, `DRIFTMAP_DEVICE` and `DRIFTMAP_NUM_SAMPLES`, in the "
    "environment or in a `.env` file in the working folder, are the defaults of "
    "`--model`, `--device` and `--num-samples`."
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
    config=(fill_in,),
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

    words = words_of(file, options)
    if not (file.is_dir() or file.name == "run.yaml"):
        return app(words)
    with without_defaults():  # the run has resolved them
        return app(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; the return value is the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    with sturdy_streams():
        return _main([w for w in words if w != "--debug"], debug="--debug" in words)


def _main(words: list[str], *, debug: bool) -> int:
    errors = Console(stderr=True)
    with listening(listener_for(errors)), environment() as taken:
        try:
            recipe = app(words)
            if isinstance(recipe, Recipe):
                print(recipe.run())  # noqa: T201
            if sys.stdout:
                sys.stdout.flush()
        except KeyboardInterrupt:
            _say(errors, "interrupted; the same command goes on from here")
            return 130
        except Exception as error:  # noqa: BLE001  the last one to hear of it
            if debug:
                # Not rich's own: it breaks lines, and a secret across two is not found.
                _say(errors, "".join(format_exception(error)).rstrip("\n"))
            _say(errors, f"error: {sentence(error, taken)}")
            return exit_code(error)
    return 0


def _say(console: Console, message: str) -> None:
    console.print(redacted(message), highlight=False, markup=False, soft_wrap=True)
