"""When is a step of a run finished, and how do its files get there whole?

A step writes into a folder of its own. Once that is complete and on the disk, a
plan (the future marker and what it replaces) is written, the files move to their
places, and the marker follows. A process killed before the plan leaves nothing;
one killed after it leaves a plan that `recover` carries out. So a marker never
speaks of a file that is not there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

from driftmap.core.errors import StoreError
from driftmap.core.progress import say
from driftmap.store.files import remove, sha256_of, sync
from driftmap.store.markers import (
    NAME,
    RESERVED,
    Record,
    StepOutcome,
    are_inside,
    as_record,
    find_finished,
    marker_path,
    outcome_of,
    plain_record,
    remove_marker,
    save_marker,
)
from driftmap.store.plain import VERSION, load_json, save_json, sorted_json

_PLAN = "driftmap.plan"
_KEY = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFolders:
    """Where a long step writes.

    Args:
        folder: Files of the result, at the paths they shall have in the run.
        work: Checkpoints to resume from: kept when the step is killed, emptied
            when its inputs change, removed when it is finished.
    """

    folder: Path
    work: Path


def step_key(name: str, inputs: Mapping[str, object]) -> str:
    """Hash what a step's result depends on.

    >>> step_key("score", {"seed": 0}) == step_key("score", {"seed": 1})
    False
    """
    assert NAME.fullmatch(name), f"{name!r}: step names are a-z 0-9 . _ -"
    text = sorted_json({"name": name, "inputs": inputs, "version": VERSION})
    return sha256(text.encode()).hexdigest()


def step_folders(root: Path, name: str, key: str) -> StepFolders:
    """Make the folders of a step that begins, without work of other inputs."""
    folder = _partial(root, name)
    work = root / "steps" / f"{name}.work" / key[:_KEY]
    remove(folder)
    folder.mkdir(parents=True)
    if work.parent.exists():
        for stale in set(work.parent.iterdir()) - {work}:
            remove(stale)
    return StepFolders(folder=folder, work=work)


def commit(
    root: Path, name: str, key: str, cleaned: StepOutcome | None = None
) -> StepOutcome:
    """Move what a step wrote to its place and mark the step finished.

    Args:
        root: The run folder.
        name: The step's name.
        key: Its key.
        cleaned: The same step as it was finished before, if all that is wrong with it
            is that files were cleaned away: only these are put back, where they were
            made again. What else the step would write now, such as measurements of
            other groups on the way, stays as it was.
    """
    folder = _partial(root, name)
    files = {p.relative_to(folder).as_posix(): p for p in _files_under(folder)}
    _require_own(root, name, list(files))
    before: Mapping[str, str] = {}
    if cleaned and set(cleaned.removed) <= set(files):
        before = cleaned.files
        for known in set(files) - set(cleaned.removed):
            files.pop(known).unlink()
    for path in files.values():
        sync(path)
    digests = dict(before) | {n: sha256_of(path) for n, path in files.items()}
    record = Record(name=name, key=key, files=digests)
    stale = sorted(set(_marked_files(root, name)) - set(digests))
    _require_room(root, list(files), stale)
    plan = {"record": plain_record(record), "stale": stale}
    save_json(_plan_path(root, name), plan, _PLAN)
    _carry_out(root, record, stale)
    return outcome_of(root, record, redone=True)


def recover(root: Path) -> None:
    """Finish the moves that a killed process had planned and clear its remains."""
    finish_planned(root)
    for path in half_written(root):
        remove(path)


def finish_planned(root: Path) -> None:
    """Carry out what a killed process had planned, or give it up where it cannot be."""
    for path in sorted((root / "steps").glob(".*.plan")):
        record, stale = _load_plan(path)
        if _can_finish(root, record):
            _carry_out(root, record, stale)
        else:
            _give_up(root, record, path)


def planned_files(root: Path) -> set[str]:
    """Name the files that a killed process had planned to move to their places."""
    plans = (root / "steps").glob(".*.plan")
    return {name for path in plans for name in _load_plan(path)[0].files}


def half_written(root: Path) -> list[Path]:
    """Find what a killed process left that is of no use to anyone."""
    steps = root / "steps"
    partial = [
        path
        for path in steps.glob(".*.partial")
        if not path.with_suffix(".plan").exists()
    ]
    return sorted([*root.glob(".*.tmp"), *steps.glob(".*.tmp"), *partial])


def work_folders(root: Path, *, of_use: bool) -> list[Path]:
    """Find the checkpoints of long steps.

    Args:
        root: The run folder.
        of_use: Those that a killed step can go on from; else those that a process
            which was killed after it had finished the step did not clear.
    """
    return sorted(
        work
        for work in (root / "steps").glob("*.work/*")
        if _is_of_use(root, work) == of_use
    )


def abandon(root: Path, name: str) -> None:
    """Clear what a failed step wrote; a step that is planned can still be finished."""
    if not _plan_path(root, name).exists():
        remove(_partial(root, name))


def clear_work(root: Path, name: str) -> None:
    """Remove the checkpoints of a step that is finished."""
    remove(root / "steps" / f"{name}.work")


def remove_work(work: Path) -> None:
    """Remove checkpoints of a long step, as `work_folders` finds them."""
    remove(work)
    if not any(work.parent.iterdir()):
        work.parent.rmdir()


def remove_with_empty_folders(root: Path, files: Iterable[str]) -> None:
    """Remove files of a run, and folders that hold nothing any more."""
    for file in files:
        remove(root / file)
        for parent in (root / file).parents:
            if parent == root or parent.is_symlink():
                break
            if parent.is_dir() and any(parent.iterdir()):
                break
            if parent.is_dir():
                parent.rmdir()


def _carry_out(root: Path, record: Record, stale: list[str]) -> None:
    """Repeatable from any point at which it was interrupted."""
    marker = marker_path(root, record.name)
    folder = _partial(root, record.name)
    if marker.exists():
        remove_marker(root, record.name)
    touched = {root / old for old in stale}
    remove_with_empty_folders(root, stale)
    for new in record.files:
        if (folder / new).exists():
            (root / new).parent.mkdir(parents=True, exist_ok=True)
            if (root / new).is_dir():
                (root / new).rmdir()
            (folder / new).replace(root / new)
            touched.add(root / new)
    for parent in sorted(_parents(root, touched)):
        sync(parent)
    save_marker(root, record)
    remove(_plan_path(root, record.name))
    remove(folder)


def _load_plan(path: Path) -> tuple[Record, list[str]]:
    plan = load_json(path, _PLAN)
    record, stale = as_record(plan.get("record")), plan.get("stale")
    if record is None or not are_inside(stale):
        raise StoreError(f"{path}: is damaged; remove it and repeat the command")
    return record, cast(list[str], stale)


def _is_of_use(root: Path, work: Path) -> bool:
    """Whether the step with the key of this work still has something to do."""
    found = find_finished(root, work.parent.name.removesuffix(".work"))
    if found is None or found.key[:_KEY] != work.name:
        return True
    return not all((root / name).is_file() for name in found.files)


def _give_up(root: Path, record: Record, plan: Path) -> None:
    """Forget a plan; what it has moved without a marker belongs to nobody."""
    if find_finished(root, record.name) is None:
        remove_with_empty_folders(root, record.files)
    remove(plan)


def _can_finish(root: Path, record: Record) -> bool:
    """Whether every planned file is still whole, moved or not."""
    for file, digest in record.files.items():
        waiting = _partial(root, record.name) / file
        path = waiting if waiting.exists() else root / file
        if not path.is_file() or sha256_of(path) != digest:
            say(f"{path} of step {record.name!r} is damaged; the step is done again")
            return False
    return True


def _files_under(folder: Path) -> list[Path]:
    found = [p for p in sorted(folder.rglob("*")) if not p.is_dir()]
    for path in found:
        plain = path.is_file() and not path.is_symlink()
        assert plain, f"{path}: not a plain file"
    return found


def _require_own(root: Path, name: str, files: list[str]) -> None:
    """A file of a run has one step that makes it."""
    for file in files:
        assert file.split("/")[0] not in RESERVED, f"step {name!r} may not write {file}"
    for marker in (root / "steps").glob("*.json"):
        if marker.stem != name:
            taken = set(_marked_files(root, marker.stem)) & set(files)
            assert not taken, f"{sorted(taken)}: made by {marker.stem!r} and {name!r}"


def _require_room(root: Path, files: list[str], stale: list[str]) -> None:
    """Refuse to write over what no step has made."""
    old = {root / name for name in stale}
    for file in files:
        target = root / file
        inside = [p for p in target.rglob("*") if p not in old and not p.is_dir()]
        above = [
            p for p in target.parents
            if root in p.parents and p.is_file() and p not in old
        ]  # fmt: skip
        if (target.is_dir() and inside) or above:
            raise StoreError(
                f"{above[0] if above else target}: is in the way of {file}; "
                "move it out of the run folder and repeat the command"
            )


def _marked_files(root: Path, name: str) -> list[str]:
    """Files of a step's marker; none where the marker cannot be read."""
    try:
        found = find_finished(root, name)
    except StoreError:
        return []
    return list(found.files) if found else []


def _parents(root: Path, files: set[Path]) -> set[Path]:
    """Folders from the run folder down to each file that exist now."""
    folders = {p for f in files for p in f.parents if p == root or root in p.parents}
    return {folder for folder in folders if folder.is_dir()}


def _plan_path(root: Path, name: str) -> Path:
    return root / "steps" / f".{name}.plan"


def _partial(root: Path, name: str) -> Path:
    return root / "steps" / f".{name}.partial"
