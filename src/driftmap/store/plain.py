"""How are plain settings and results kept as JSON that is the same every time?"""

import json
from collections.abc import Mapping
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.results.plain import to_plain
from driftmap.store.files import write_text

VERSION = 1


def sorted_json(value: Mapping[str, object]) -> str:
    """Write plain values on one line: sorted keys, no spaces, ASCII.

    >>> sorted_json({"b": 1.0, "a": [True, None]})
    '{"a":[true,null],"b":1.0}'
    """
    return json.dumps(to_plain(value), sort_keys=True, separators=(",", ":"))


def save_json(path: Path, value: object, kind: str) -> None:
    """Write a result for people and programs: sorted keys, a line each.

    Args:
        path: File to write, whole or not at all.
        value: A mapping or a dataclass; floats are written so that they read back
            exactly.
        kind: What the file is, written beside the version.

    Raises:
        StoreError: The value holds what no file can, or cannot be written.
    """
    plain = to_plain(value)
    assert isinstance(plain, dict), f"{kind}: a {type(value).__name__} has no fields"
    assert not {"kind", "version"} & plain.keys(), (
        "kind and version are the format's own"
    )
    whole = {"kind": kind, "version": VERSION, **plain}
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
    except (ValueError, RecursionError) as error:
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
