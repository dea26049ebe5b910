"""Which words on a command line does a saved recipe stand for?

A file is read by the same parser as the command line, so that both know the same
options, defaults and mistakes.
"""

from pathlib import Path

import yaml

from driftmap.core.errors import UsageError

NOT_OPTIONS = ("command", "kind", "version")


def words_of(file: Path) -> list[str]:
    """Turn a YAML file into words.

    Args:
        file: A mapping with `command` and the command's options, with dashes or
            underscores; a null value leaves an option at its default.

    Raises:
        UsageError: The file is missing, no mapping of plain values, or names no
            command.
    """
    try:
        saved = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{file}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise UsageError(f"{file}: is not YAML ({where})") from error
    if not isinstance(saved, dict) or not isinstance(saved.get("command"), str):
        raise UsageError(
            f"{file}: name the command, as in `command: drift`, and its options "
            "below it"
        )
    words = [saved["command"]]
    for name, value in saved.items():
        if name not in NOT_OPTIONS and value is not None:
            words += _option(file, str(name), value)
    return words


def _option(file: Path, name: str, value: object) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    if isinstance(value, str | int | float):
        return [f"--{flag}={value}"]
    if isinstance(value, list) and all(isinstance(v, str | int) for v in value):
        return [f"--{flag}={v}" for v in value]
    raise UsageError(f"{file}: {name} is {value!r}; give one plain value")
