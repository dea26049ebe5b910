"""Which runs lie in these folders, and how far is each?

Only what driftmap wrote is read: settings, log, markers of steps and the report's text.
Nothing is changed, and no link is followed.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from driftmap.core.errors import DriftmapError, StoreError
from driftmap.recipes.steps.pages import REPORT, flat_settings
from driftmap.recipes.steps.viewing.verdicts import Told, told
from driftmap.results.run_index import RunState, RunSummary
from driftmap.store.markers import find_finished
from driftmap.store.recipe_file import RECIPE_FILE, SavedRecipe, load_recipe

DEPTH = 4
"""How many folders below a given one a run may lie."""

_LOG_END = 2**16
_INSIDE = ("steps", "figures", "tables")
_MODELS = ("model", "base", "models")
_LINE = re.compile(r"(?P<date>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)Z [A-Z]+ (?P<said>.*)")
_BEGUN = re.compile(r"driftmap \S+: (?P<kind>[a-z-]+)")
_STOPPED = re.compile(r"(?P<kind>[a-z-]+) stopped: (?P<error>\w+): ?(?P<reason>.*)")
_AT_STEP = re.compile(r"step (?P<step>\S+) \.\.\.")


def find_runs(folders: Sequence[Path]) -> dict[Path, str]:
    """Find all runs in some folders.

    Args:
        folders: Run folders, or folders in which runs lie, up to `DEPTH` below.

    Returns:
        Run folder -> its name for a person, in the order found, each run once.

    Raises:
        StoreError: A folder is not there, or none holds a run.
    """
    found: dict[Path, str] = {}
    for folder in folders:
        if not folder.is_dir():
            raise StoreError(f"{folder}: there is no such folder; check the name")
        for run in _runs_in(folder, DEPTH):
            found.setdefault(run.resolve(), str(run))
    if not found:
        names = ", ".join(map(str, folders))
        raise StoreError(
            f"{names}: holds no run, nor does a folder up to {DEPTH} below; name a "
            "folder that driftmap wrote, as with --out"
        )
    return found


def summary_of(run: Path, name: str, address: str) -> RunSummary:
    """Say of a run what an index shows.

    Args:
        run: Its folder.
        name: The same, for a person.
        address: Of its report, if it has one, as seen from the index.
    """
    try:
        saved = load_recipe(run)
        state, stage = _state(run, saved.kind)
        settings = flat_settings(saved.settings)
    except (DriftmapError, OSError) as error:
        saved, settings = SavedRecipe(kind="unknown", settings={}), {}
        state, stage = "damaged", str(error)
    said = _told(run, saved.kind)
    return RunSummary(
        key=run_key(run),
        name=name,
        kind=saved.kind,
        title=said.title,
        verdict=said.verdict,
        points=said.points,
        model=_model(settings),
        date=_date(run),
        state=state,
        stage=stage,
        num_bytes=_num_bytes(run),
        settings={
            name: _written(value) for name, value in settings.items() if name != "out"
        },
        report=address if (run / REPORT).is_file() else "",
    )


def run_key(run: Path) -> str:
    """A short name of a run folder that tells nothing of where it lies."""
    return hashlib.sha256(os.fsencode(run)).hexdigest()[:12]


def _runs_in(folder: Path, depth: int) -> Iterator[Path]:
    """A folder, if it is a run, and runs below it: a study holds others."""
    try:
        is_run = (folder / RECIPE_FILE).is_file() and (folder / "steps").is_dir()
        inner = sorted(filter(_may_hold, folder.iterdir())) if depth else []
    except OSError:  # not ours to read, or gone since its parent was read
        return
    if is_run:
        yield folder
    for one in inner:
        yield from _runs_in(one, depth - 1)


def _may_hold(folder: Path) -> bool:
    hidden = folder.name.startswith(".") or folder.name in _INSIDE
    return folder.is_dir() and not folder.is_symlink() and not hidden


def _state(run: Path, kind: str) -> tuple[RunState, str]:
    """How far a run is; a log that just ends was cut off, or still grows."""
    lines = [found["said"] for found in map(_LINE.fullmatch, _log(run)) if found]
    begun = [n for n, said in enumerate(lines) if _is_begun(said, kind)]
    ours = lines[begun[-1] :] if begun else []
    stopped = [found for found in map(_STOPPED.fullmatch, ours) if found]
    steps = [found["step"] for found in map(_AT_STEP.fullmatch, ours) if found]
    at_step = f"at step {steps[-1]}" if steps else "before its first step"
    if stopped and stopped[-1]["kind"] == kind:
        error, reason = stopped[-1]["error"], stopped[-1]["reason"]
        if error in ("KeyboardInterrupt", "SystemExit"):
            return "interrupted", at_step
        return "failed", f"{reason or error} ({at_step})"
    if f"{kind}: done" in ours or (not ours and _has_report(run)):
        return "finished", "" if _has_report(run) else "without a report"
    return "interrupted", f"{at_step}, or still running"


def _is_begun(said: str, kind: str) -> bool:
    found = _BEGUN.fullmatch(said)
    return found is not None and found["kind"] == kind


def _has_report(run: Path) -> bool:
    found = find_finished(run, "report")
    return found is not None and not found.is_outdated


def _log(run: Path) -> list[str]:
    """The last lines of a log."""
    file = run / "log.txt"
    if not file.is_file():
        return []
    with file.open("rb") as stream:
        stream.seek(max(0, file.stat().st_size - _LOG_END))
        return stream.read().decode("utf-8", "replace").splitlines()


def _told(run: Path, kind: str) -> Told:
    report = run / "report.txt"
    if report.is_symlink() or not report.is_file():
        return Told(title="", verdict="", points=())
    return told(report, kind)


def _date(run: Path) -> str:
    dates = [found["date"] for found in map(_LINE.fullmatch, _log(run)) if found]
    if dates:
        return dates[-1].replace("T", " ")[:16]
    file = run / RECIPE_FILE
    when = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    return when.strftime("%Y-%m-%d %H:%M")


def _model(settings: dict[str, object]) -> str:
    named = next((settings[name] for name in _MODELS if settings.get(name)), "")
    return _written(named) if named else ""


def _num_bytes(run: Path) -> int:
    return sum(
        _size(Path(folder) / name)
        for folder, _, names in os.walk(run)
        for name in names
    )


def _size(file: Path) -> int:
    try:
        return os.lstat(file).st_size
    except OSError:  # a run that is at work renames its files
        return 0


def _written(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(_written, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
