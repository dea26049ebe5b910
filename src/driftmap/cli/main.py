"""How does a command line end: with what is worth opening, or with one sentence?"""

import sys
from collections.abc import Sequence
from pathlib import Path
from traceback import format_exception
from typing import Protocol, runtime_checkable

from rich.console import Console

from driftmap.cli.commands import app, meant
from driftmap.cli.environment import environment
from driftmap.cli.mistakes import exit_code, sentence
from driftmap.cli.progress import listener_for
from driftmap.cli.streams import sturdy_streams
from driftmap.core.progress import listening
from driftmap.core.secrets import redacted

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
            app.console = Console(width=max(errors.width, _NARROWEST_HELP))
            recipe = app(meant(words))
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
