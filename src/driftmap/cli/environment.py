"""What do the environment and a `.env` file say before the words do?

Three options take their default from there, and the keys of services are passed on.
A name of the environment wins over the same name in the file.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from cyclopts import App, ArgumentCollection, Token

from driftmap.cli.env_file import read_env_file
from driftmap.core.errors import UsageError
from driftmap.core.progress import say
from driftmap.core.secrets import secret_in

FILE = Path(".env")

PASSED_ON = ("HF_TOKEN", "OPENAI_API_KEY", "OPENAI_BASE_URL")
"""Names that the file may put into the environment of the process."""

DEFAULTS: Mapping[str, tuple[str, ...]] = {
    "--model": ("DRIFTMAP_MODEL", "MT_MODEL_NAME"),
    "--device": ("DRIFTMAP_DEVICE", "MT_DEVICE"),
    "--num-samples": ("DRIFTMAP_NUM_SAMPLES", "MT_SAMPLE_SIZE"),
}
"""Options with a default in the environment, and its names; the first one wins."""

_INSTEAD = {"--device": "--device-map"}
"""Options that say the same in another way: a default gives way to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A default that came from the environment.

    Args:
        option: Which option it fills.
        value: As it stands there.
        origin: The variable, and the file if it stands in one.
    """

    option: str
    value: str
    origin: str

    def is_blamed_by(self, sentence: str) -> bool:
        """Whether an error is about the option or its value and hides the variable."""
        names = [self.option, self.option.removeprefix("--").replace("-", "_")]
        told = names if self.value.isdecimal() else [*names, self.value]
        return self.origin not in sentence and any(
            re.search(rf"(?<![\w/-]){re.escape(word)}(?![\w/-])", sentence)
            for word in told
        )


@dataclass(slots=True, kw_only=True)
class _Reading:
    """What one command line has taken from the environment so far."""

    taken: list[Taken] = field(default_factory=list)
    file: Mapping[str, str] | None = None
    with_defaults: bool = True


_reading: ContextVar[_Reading] = ContextVar("reading")


@contextmanager
def environment() -> Iterator[list[Taken]]:
    """Let words parsed inside the block take defaults from the environment.

    Yields:
        The defaults that were taken so far.
    """
    reading = _Reading()
    token = _reading.set(reading)
    try:
        yield reading.taken
    finally:
        _reading.reset(token)


@contextmanager
def without_defaults() -> Iterator[None]:
    """Let words parsed inside the block stand alone, as those of a replay do."""
    reading = _reading.get()
    before, reading.with_defaults = reading.with_defaults, False
    try:
        yield
    finally:
        reading.with_defaults = before


def fill_in(_app: App, _words: tuple[str, ...], arguments: ArgumentCollection) -> None:
    """Give options that no word gave their default of the environment.

    Args:
        arguments: Those of the command at hand, as cyclopts hands them over.

    Raises:
        DataError: The file cannot be read.
        UsageError: A word or a default holds the value of a secret.
    """
    reading = _reading.get(None) or _Reading()
    if reading.file is None:
        reading.file = _read_file()
    for argument in arguments:
        for token in argument.tokens:
            _refuse_secret(argument.name, token.value)
    if reading.with_defaults:
        _fill_in_defaults(arguments, reading)


def _read_file() -> Mapping[str, str]:
    names = (*PASSED_ON, *(name for names in DEFAULTS.values() for name in names))
    file = read_env_file(FILE, names)
    for name in PASSED_ON:
        if name in file:
            os.environ.setdefault(name, file[name])
    return file


def _fill_in_defaults(arguments: ArgumentCollection, reading: _Reading) -> None:
    options = {argument.name: argument for argument in arguments}
    given = {name for name, argument in options.items() if argument.has_tokens}
    for option, names in DEFAULTS.items():
        if option not in options or {option, _INSTEAD.get(option)} & given:
            continue
        taken = _found(option, names, reading.file or {})
        if taken is None:
            continue
        _refuse_secret(taken.origin, taken.value)
        reading.taken.append(taken)
        say(f"{option}: {taken.value} (from {taken.origin})")
        options[option].append(
            Token(keyword=option, value=taken.value, source=taken.origin)
        )


def _found(
    option: str, names: tuple[str, ...], file: Mapping[str, str]
) -> Taken | None:
    """The first of the names that has a value; an empty one counts as none."""
    for name in names:
        value = os.environ.get(name, file.get(name, "")).strip()
        if value:
            origin = name if name in os.environ else f"{name} in {FILE}"
            return Taken(option=option, value=value, origin=origin)
    return None


def _refuse_secret(where: str, value: str) -> None:
    secret = secret_in(value)
    if secret is not None:
        raise UsageError(
            f"{where}: it holds the value of {secret}, and a run writes its settings "
            "down; leave it out, what needs it looks it up"
        )
