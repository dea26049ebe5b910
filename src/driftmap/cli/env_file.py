"""What does a `.env` file say of the names that are ours?"""

import io
from collections.abc import Collection
from pathlib import Path

from driftmap.core.errors import DataError


def read_env_file(path: Path, names: Collection[str]) -> dict[str, str]:
    """Read some names from a file of `NAME=value` lines.

    Values are taken as they stand: `$HOME` in one is not replaced.

    Args:
        path: Usually `.env`; a folder of that name (a virtual environment) and no
            file at all say nothing.
        names: Those to look for; all others are somebody else's.

    Returns:
        Name -> value, of the names that the file holds; the last line of a name counts.

    Raises:
        DataError: It cannot be read, is no text, or holds a line of another form.
    """
    text = _text(path)
    if not text:
        return {}
    # Imported late: most folders have no such file.
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        ours = binding.key in names
        if binding.error or (ours and binding.value is None):
            line = binding.original.line + _blank_lines(binding.original.string)
            # What stands there is not shown: it may be half of a secret.
            raise DataError(
                f"{path}: line {line} is not of the form NAME=value; mend it or put "
                "a # before it"
            )
        if ours and binding.key is not None and binding.value is not None:
            found[binding.key] = binding.value
    return found


def _text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        return ""
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise DataError(
            f"{path}: it cannot be read ({reason}); change its permissions or take it "
            "away"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: it is not UTF-8 text; save it as UTF-8 or take it away"
        ) from error
    if "\0" in text:
        raise DataError(f"{path}: it holds NUL bytes, so it is no text; take it away")
    return text.replace("\r\n", "\n")


def _blank_lines(text: str) -> int:
    return text[: len(text) - len(text.lstrip())].count("\n")
