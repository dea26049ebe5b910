"""How are plain settings and results kept as JSON that is the same every time?"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.store.files import write_text

VERSION = 1


def to_plain(value: object, place: str = "") -> object:
    """Turn tuples into lists and paths into text; refuse what no file can hold.

    Args:
        value: Nested mappings and sequences of text, numbers, booleans, None.
        place: Dotted name of the value, for the error.

    Raises:
        StoreError: A number is not finite, a key is no text, or a value is of
            another type.

    >>> to_plain({"folder": Path("run"), "layers": (1, 2)})
    {'folder': 'run', 'layers': [1, 2]}
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if value - value != 0:
            raise StoreError(
                f"{place or 'value'}: {value} is not a number a file may hold; "
                "leave it out or write None"
            )
        return value
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, Mapping):
        return {
            _text(k, place): to_plain(v, _under(place, k)) for k, v in value.items()
        }
    if isinstance(value, list | tuple):
        return [to_plain(v, _under(place, i)) for i, v in enumerate(value)]
    raise StoreError(
        f"{place or 'value'}: a {type(value).__name__} cannot be kept in a file; "
        "turn it into text, numbers, lists or mappings first"
    )


def sorted_json(value: Mapping[str, object]) -> str:
    """Write plain values on one line: sorted keys, no spaces, ASCII.

    >>> sorted_json({"b": 1.0, "a": [True, None]})
    '{"a":[true,null],"b":1.0}'
    """
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"))


def save_json(path: Path, value: Mapping[str, object], kind: str) -> None:
    """Write plain values for people and programs: sorted keys, a line each.

    Args:
        path: File to write, whole or not at all.
        value: Plain values; floats are written so that they read back exactly.
        kind: What the file is, written beside the version.
    """
    assert not {"kind", "version"} & set(value), "kind and version are the format's own"
    whole = to_plain({"kind": kind, "version": VERSION, **value})
    write_text(path, json.dumps(whole, sort_keys=True, indent=2) + "\n")


def load_json(path: Path, kind: str) -> dict[str, object]:
    """Read what `save_json` wrote, without kind and version.

    Raises:
        StoreError: The file is missing, cut short, of another kind, or newer.
    """
    value = parse_json(path)
    if not isinstance(value, dict):
        raise StoreError(f"{path}: holds no {kind}; was it written by driftmap?")
    check_format(path, value, kind)
    return {k: v for k, v in value.items() if k not in ("kind", "version")}


def parse_json(path: Path) -> object:
    """Read any JSON file.

    Raises:
        StoreError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file; check the name") from None
    except ValueError as error:
        raise StoreError(
            f"{path}: is damaged or not JSON ({error}); write it again"
        ) from error


def check_format(path: Path, header: Mapping[str, object], kind: str) -> None:
    """Refuse a file of another kind or of a version this driftmap cannot read."""
    found, version = header.get("kind"), header.get("version")
    if found != kind:
        raise StoreError(
            f"{path}: holds {found or 'no driftmap data'}, not {kind}; "
            "name the right file"
        )
    if not isinstance(version, int) or not 1 <= version <= VERSION:
        raise StoreError(
            f"{path}: is {kind} of version {version}, this driftmap reads up to "
            f"{VERSION}; use a newer driftmap"
        )


def _text(key: object, place: str) -> str:
    if not isinstance(key, str):
        raise StoreError(f"{place or 'value'}: the key {key!r} is not text")
    return key


def _under(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
