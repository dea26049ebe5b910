"""Which words on a command line does a saved recipe stand for?

A file is read by the same parser as the command line, so that both know the same
options, defaults and mistakes.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from driftmap.core.errors import UsageError
from driftmap.store.recipe_file import RECIPE_FILE, load_recipe


def words_of(file: Path, instead: Sequence[str] = ()) -> list[str]:
    """Turn a YAML file into words.

    Args:
        file: `kind`, a driftmap command, and its options with dashes or underscores,
            at the top or in sections whose names mean nothing; a null value leaves
            an option at its default. A run folder's own `run.yaml` means that folder,
            wherever it was moved to, and all phases of the run.
        instead: Further words; an option among them replaces the file's.

    Raises:
        StoreError: The file is missing, is no YAML, or names no command.
        UsageError: A value is not plain.
    """
    saved = load_recipe(file)
    options = option_words(file, saved.settings)
    home = file if file.is_dir() else file.parent
    if (home / RECIPE_FILE).exists() and (home / "steps").is_dir():
        options["out"] = [f"--out={home}"]
        options.pop("until", None)
    for name in _named(instead):
        options.pop(name, None)
    return [
        saved.kind,
        *(word for words in options.values() for word in words),
        *instead,
    ]


def option_words(file: Path, settings: Mapping[str, object]) -> dict[str, list[str]]:
    """Turn plain settings into words, by option.

    Args:
        file: Where they stand, for errors.
        settings: By name, with dashes or underscores, at the top or in sections.

    Raises:
        UsageError: A value is not plain.
    """
    return dict(_options(file, settings))


def _options(
    file: Path, settings: Mapping[str, object]
) -> Iterator[tuple[str, list[str]]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _options(file, cast(Mapping[str, object], value))
        elif value is not None:
            flag = name.replace("_", "-")
            yield flag, _words(file, flag, value)


def _words(file: Path, flag: str, value: object) -> list[str]:
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, str | int | float):
        return [f"--{flag}={value}"]
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        return [f"--{flag}={v}" for v in value]
    raise UsageError(f"{file}: {flag} is {value!r}; give one plain value")


def _named(words: Sequence[str]) -> list[str]:
    """Names of the options among words.

    >>> _named(["--seeds", "5", "--no-keep", "--out=x"])
    ['seeds', 'keep', 'out']
    """
    flags = [word.partition("=")[0][2:] for word in words if word.startswith("--")]
    return [flag.removeprefix("no-").replace("_", "-") for flag in flags]
