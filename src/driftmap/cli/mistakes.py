"""With which sentence and which exit code does a mistake end?

A mistake that a person can mend is one sentence and exit code 2 (usage) or 1 (data);
anything else is a defect and says how to see where it happened.
"""

import errno
from collections.abc import Sequence

from cyclopts import CycloptsError, MissingArgumentError

from driftmap.cli.environment import Taken
from driftmap.core.errors import DriftmapError

PAGE = "docs/how-to/troubleshooting.md"
"""Where the topics of errors are explained; its path in the project's repository."""


def exit_code(error: Exception) -> int:
    """2 where the words cannot be meant, 1 for every other mistake."""
    if isinstance(error, DriftmapError):
        return error.exit_code
    return 2 if isinstance(error, CycloptsError) else 1


SAID_AS = {
    "drift-logs": "drift",
    "check-judge": "evaluate",
    "similarity-json": "similarity",
}
"""Commands that a person says as another one with an option of its own; the names are
for saved runs."""


def sentence(error: Exception, taken: Sequence[Taken] = ()) -> str:
    """Say what is wrong in one line.

    Args:
        error: What ended the command.
        taken: Defaults from the environment; one that the error complains of is named.

    >>> sentence(DriftmapError("x: it is too long; cut it"))
    'x: it is too long; cut it'
    >>> sentence(DriftmapError("x: it is full; empty it", topic="disk"))
    'x: it is full; empty it; see docs/how-to/troubleshooting.md#disk'
    """
    said = " ".join(str(error).split())
    if isinstance(error, DriftmapError):
        page = f"; see {PAGE}#{error.topic}" if error.topic else ""
        return f"{said}{_blamed(said, taken)}{page}"
    if isinstance(error, CycloptsError):
        chain = [SAID_AS.get(name, name) for name in error.command_chain or ()]
        command = " ".join(["driftmap", *chain])
        said = said.rstrip(".")
        for own, name in SAID_AS.items():
            said = said.replace(f'Command "{own}"', f'Command "{name}"')
        if isinstance(error, MissingArgumentError) and error.argument is not None:
            name = error.argument.name
            # What stands without an option is written large.
            name = name.removeprefix("--") if name.isupper() else name
            said = f"{name} is missing, or has no value; give one"
        return f"{said}{_blamed(said, taken)}; see `{command} --help`"
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        where = error.filename or "what is written"
        return f"{where}: the disk is full; free some space and repeat; see {PAGE}#disk"
    return (
        f"{type(error).__name__}: {said} (this should not happen; `--debug` shows "
        "where)"
    )


def _blamed(said: str, taken: Sequence[Taken]) -> str:
    origins = [one.origin for one in taken if one.is_blamed_by(said)]
    return f" (from {' and '.join(origins)})" if origins else ""
