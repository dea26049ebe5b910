"""How does a command line end: with what is worth opening, or with one sentence?"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exception
from typing import Protocol, runtime_checkable

from rich.console import Console

from driftmap.cli.commands import app, meant
from driftmap.cli.environment import environment
from driftmap.cli.mistakes import exit_code, sentence
from driftmap.cli.progress import listener_for
from driftmap.cli.streams import sturdy_streams
from driftmap.core.errors import UsageError
from driftmap.core.launch import Launch, UnheardError, launched
from driftmap.core.progress import Silence, listening
from driftmap.core.secrets import redacted
from driftmap.recipes.drift import Drift
from driftmap.recipes.freeze import Freeze

# In fewer columns the boxes of the help have no room for a letter, and never end.
_NARROWEST_HELP = 10


@runtime_checkable
class Recipe(Protocol):
    """What every command makes of its words."""

    def run(self) -> Path | str:
        """Do the work; return what a person should open or read."""
        ...


def main(words: Sequence[str] | None = None) -> int:
    """Run one command line; the return value is the exit code."""
    words = list(sys.argv[1:] if words is None else words)
    with sturdy_streams():
        return _main([w for w in words if w != "--debug"], debug="--debug" in words)


def _main(words: list[str], *, debug: bool) -> int:
    errors = Console(stderr=True, emoji=False)
    with listening(listener_for(errors)), environment() as taken:
        try:
            with launched() as launch, _heard(launch):
                app.console = Console(width=max(errors.width, _NARROWEST_HELP))
                _run(app(meant(words)), launch)
        except KeyboardInterrupt:
            if _is_first():
                _say(errors, "interrupted; the same command goes on from here")
            return 130
        except Exception as error:  # noqa: BLE001  the last one to hear of it
            if not (_is_first() or isinstance(error, UnheardError)):
                return exit_code(error)
            if debug:
                # Not rich's own: it breaks lines, and a secret across two is not found.
                _say(errors, "".join(format_exception(error)).rstrip("\n"))
            _say(errors, f"error: {sentence(error, taken)}")
            return exit_code(error)
    return 0


def _run(recipe: object, launch: Launch) -> None:
    """Do the work of a command; of several processes the first one shows the result."""
    if isinstance(recipe, Recipe):
        if not (launch.is_alone or isinstance(recipe, Drift | Freeze)):
            raise UsageError(
                f"{launch.size} processes were started, and only `driftmap drift` and "
                "`driftmap freeze` share their work; start this command without "
                "torchrun or accelerate launch"
            )
        said = recipe.run()
        if launch.is_first:
            print(said)  # noqa: T201
    if sys.stdout:
        sys.stdout.flush()


@contextmanager
def _heard(launch: Launch) -> Iterator[None]:
    """Let the first of several processes speak for all."""
    if launch.is_first:
        yield
        return
    with listening(Silence()):
        yield


def _is_first() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _say(console: Console, message: str) -> None:
    console.print(redacted(message), highlight=False, markup=False, soft_wrap=True)
