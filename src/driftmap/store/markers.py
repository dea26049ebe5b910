"""What does a run know of a finished step: its files, and what became of them since?

Two notes may be added to a marker later: that the run's settings have changed since
(so its files are of earlier ones), and which of its files were cleaned away on purpose.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from driftmap.core.errors import StoreError
from driftmap.store.files import sha256_of, sync
from driftmap.store.plain import load_json, save_json

RESERVED = ("run.yaml", "provenance.json", "log.txt", "steps")
NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_KIND = "driftmap.step"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What a marker says.

    Args:
        name: The step's name.
        key: Hash of its name and inputs.
        files: Path inside the run -> sha256.
        is_outdated: Whether the run's settings changed since in a way that this step
            depends on.
        removed: Those of the files that were cleaned away on purpose.
    """

    name: str
    key: str
    files: Mapping[str, str]
    is_outdated: bool = False
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOutcome:
    """A finished step.

    Args:
        name: The step's name.
        key: Hash of its name and inputs: an input of the steps that build on it.
        root: The run folder.
        files: Path inside the run -> sha256, in the order of the paths.
        redone: Whether it was done just now; False if it was found finished.
        is_outdated: Whether the run's settings changed since.
        removed: Those of the files that were cleaned away on purpose.
    """

    name: str
    key: str
    root: Path
    files: Mapping[str, str]
    redone: bool
    is_outdated: bool = False
    removed: tuple[str, ...] = ()

    def path(self, name: str) -> Path:
        """Full path of one of the step's files.

        Raises:
            StoreError: The step made no such file, or it was cleaned away.
        """
        if name not in self.files:
            raise StoreError(
                f"step {self.name!r} made no {name}, only {sorted(self.files)}"
            )
        if name in self.removed and not (self.root / name).exists():
            raise StoreError(
                f"{self.root / name}: was cleaned away; "
                f"make it again with `driftmap run {self.root}`"
            )
        return self.root / name


def marker_path(root: Path, name: str) -> Path:
    """Where the marker of a step lies."""
    return root / "steps" / f"{name}.json"


def find_finished(root: Path, name: str) -> StepOutcome | None:
    """Find a step that has a marker, whatever its files are like now.

    Raises:
        StoreError: The marker is damaged or of a newer version.
    """
    record = _load(root, name)
    return outcome_of(root, record, redone=False) if record else None


def all_finished(root: Path) -> list[StepOutcome]:
    """Find every step that has a marker, in the order of their names.

    Raises:
        StoreError: A marker is damaged or of a newer version.
    """
    names = sorted(path.stem for path in (root / "steps").glob("[!.]*.json"))
    found = (find_finished(root, name) for name in names)
    return [step for step in found if step]


def outcome_of(root: Path, record: Record, *, redone: bool) -> StepOutcome:
    """Say what a record says of a step in this run folder."""
    return StepOutcome(
        name=record.name,
        key=record.key,
        root=root,
        files=record.files,
        redone=redone,
        is_outdated=record.is_outdated,
        removed=record.removed,
    )


def save_marker(root: Path, record: Record) -> None:
    """Write a marker, whole or not at all."""
    save_json(marker_path(root, record.name), plain_record(record), _KIND)


def remove_marker(root: Path, name: str) -> None:
    """Forget a step, after its files."""
    path = marker_path(root, name)
    path.unlink()
    sync(path.parent)


def note_outdated(root: Path, name: str) -> None:
    """Note on a step, if it is finished, that the run's settings are others now."""
    record = _load(root, name)
    if record:
        _resave(root, record, replace(record, is_outdated=True))


def note_removed(root: Path, name: str, files: Collection[str]) -> None:
    """Note on a finished step which of its files are about to be cleaned away."""
    record = _load(root, name)
    assert record is not None, f"{name}: is not finished"
    assert set(files) <= set(record.files), f"{name}: made no {sorted(files)}"
    removed = tuple(sorted({*record.removed, *files}))
    _resave(root, record, replace(record, removed=removed))


def clear_notes(root: Path, name: str) -> StepOutcome:
    """Take all notes back: the step is of the run's settings, its files are whole."""
    record = _load(root, name)
    assert record is not None, f"{name}: is not finished"
    plain = replace(record, is_outdated=False, removed=())
    _resave(root, record, plain)
    return outcome_of(root, plain, redone=False)


def missing_on_purpose(outcome: StepOutcome) -> list[str]:
    """Name the files that were cleaned away and are not there."""
    return [name for name in outcome.removed if not (outcome.root / name).exists()]


def first_fault(outcome: StepOutcome) -> str | None:
    """Say which file of a finished step is not what the step wrote, if any is.

    Files that were cleaned away on purpose are no fault.
    """
    gone = set(missing_on_purpose(outcome))
    for name, digest in outcome.files.items():
        path = outcome.root / name
        if name in gone:
            continue
        if not path.is_file():
            return f"{path} of step {outcome.name!r} is missing"
        if sha256_of(path) != digest:
            return f"{path} of step {outcome.name!r} is not what the step wrote"
    return None


def plain_record(record: Record) -> dict[str, object]:
    """Turn a record into what its file holds; notes stand there only when made."""
    plain: dict[str, object] = {
        "name": record.name,
        "key": record.key,
        "files": dict(record.files),
    }
    if record.is_outdated:
        plain["is_outdated"] = True
    if record.removed:
        plain["removed"] = list(record.removed)
    return plain


def as_record(value: object) -> Record | None:
    """Read a record; None where it is damaged or points out of the run."""
    if not isinstance(value, Mapping) or not isinstance(value.get("files"), Mapping):
        return None
    name, key, files = value.get("name"), value.get("key"), value["files"]
    is_outdated, removed = value.get("is_outdated", False), value.get("removed", [])
    if not isinstance(name, str) or not NAME.fullmatch(name):
        return None
    if not isinstance(key, str) or not isinstance(is_outdated, bool):
        return None
    if not _are_digests(files) or not _are_among(files, removed):
        return None
    return Record(
        name=name,
        key=key,
        files=files,
        is_outdated=is_outdated,
        removed=tuple(removed),
    )


def are_inside(names: object) -> bool:
    """Whether these are paths that stay inside a run and off its own files."""
    if not isinstance(names, list):
        return False
    for name in names:
        if not isinstance(name, str) or not name:
            return False
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or parts[0] in RESERVED:
            return False
    return True


def _load(root: Path, name: str) -> Record | None:
    path = marker_path(root, name)
    if not path.exists():
        return None
    record = as_record(load_json(path, _KIND))
    if record is None or record.name != name:
        raise StoreError(f"{path}: is damaged; remove it and repeat the command")
    return record


def _are_digests(files: Mapping[object, object]) -> bool:
    digests = files.values()
    return are_inside(list(files)) and all(
        isinstance(digest, str) and _SHA256.fullmatch(digest) for digest in digests
    )


def _are_among(files: Mapping[object, object], names: object) -> bool:
    return isinstance(names, list) and all(
        isinstance(name, str) and name in files for name in names
    )


def _resave(root: Path, old: Record, new: Record) -> None:
    if new != old:
        save_marker(root, new)
