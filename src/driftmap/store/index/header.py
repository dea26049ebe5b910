"""What is an index an index of, and may another one be joined to it?"""

from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from driftmap.core.errors import DataError, StoreError
from driftmap.results.index import IndexHeader, IndexSettings
from driftmap.results.plain import from_plain, to_plain
from driftmap.store.plain import load_json, save_json, sorted_json

INDEX_FILE = "index.json"
KIND = "driftmap.index"
_NAMES = ("model", "adapter", "template")


def save_header(folder: Path, header: IndexHeader) -> None:
    """Write `index.json`, whole or not at all.

    Raises:
        StoreError: The disk refuses.
    """
    plain = to_plain(header)
    assert isinstance(plain, dict)
    plain["settings_sha256"] = settings_sha256(header)
    save_json(folder / INDEX_FILE, plain, KIND)


def load_header(folder: Path) -> IndexHeader:
    """Read `index.json`.

    Raises:
        StoreError: The folder holds no index, or its header is damaged or newer.
    """
    path = folder / INDEX_FILE
    if not path.is_file():
        raise StoreError(
            f"{folder}: holds no index; name a folder that `driftmap index build` made"
        )
    plain = load_json(path, KIND)
    said = plain.pop("settings_sha256", None)
    try:
        header = from_plain(IndexHeader, plain, str(path))
    except DataError as error:
        raise StoreError(f"{path}: is damaged ({error}); build it again") from error
    if said != settings_sha256(header):
        raise StoreError(
            f"{path}: its settings are not those that it was made with; build it again"
        )
    return header


def settings_sha256(header: IndexHeader) -> str:
    """Hash what two indexes must have in common: tensors and settings."""
    plain = {"tensors": header.tensors, "settings": header.settings}
    return sha256(sorted_json(plain).encode()).hexdigest()


def require_same_settings(
    folder: Path, header: IndexHeader, other: IndexHeader, whose: str
) -> None:
    """Refuse to join what was made in different ways.

    Args:
        folder: The index.
        header: What it says of itself.
        other: What is to be joined.
        whose: What that is called in the error.

    Raises:
        StoreError: A setting, or the list of tensors, differs.
    """
    differing = [
        f"{name} {was!r}, {whose} has {now!r}"
        for name, was, now in _differences(header.settings, other.settings)
    ]
    if not differing and header.tensors != other.tensors:
        differing = [
            f"{len(header.tensors)} tensors, {whose} has {len(other.tensors)} or others"
        ]
    if differing:
        raise StoreError(
            f"{folder}: was made with {differing[0]}; "
            "use the same settings, or choose another folder"
        )


def _differences(
    one: IndexSettings, other: IndexSettings
) -> list[tuple[str, object, object]]:
    """Settings that differ, by name; how a model or template is named is none."""
    left, right = _flat(asdict(one)), _flat(asdict(other))
    return [
        (name, left[name], right[name])
        for name in left
        if name not in _NAMES and left[name] != right[name]
    ]


def _flat(nested: Mapping[str, object]) -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in nested.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": held for inner, held in value.items()}
        else:
            flat[name] = value
    return flat
