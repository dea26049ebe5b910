"""What does a study file say, and where is it?

`kind: study`, a title, what it is about, and `runs`: by name, each a recipe as a file
of its own would hold it (`kind` and options).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import StoreError, UsageError
from driftmap.store.beside import STUDY
from driftmap.store.recipe_file import RECIPE_FILE, load_recipe

SHIPPED = Path(__file__).parents[2] / "studies"
"""Where the studies lie that come with driftmap."""

_KNOWN = {"title", "about", "source", "runs", "seed"}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_TAKEN = ("figures", "steps", "report")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedRun:
    """One recipe of a study.

    Args:
        name: Unique in the study; its run folder has this name.
        kind: Which recipe: the name of its command.
        options: Its options, plain, in blocks or flat.
    """

    name: str
    kind: str
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFile:
    """What a study file says.

    Args:
        file: Where it was read.
        title: The question, as a heading.
        about: What is asked and why, in a sentence or more.
        source: Whose parameters these are; empty for the user's own.
        seed: Of the built-in models that runs name.
        runs: In their order; a later one may name an earlier one.
    """

    file: Path
    title: str
    about: str
    source: str
    seed: int
    runs: tuple[PlannedRun, ...]


def shipped_names() -> tuple[str, ...]:
    """Names of the studies that come with driftmap.

    >>> "safety-drift" in shipped_names()
    True
    """
    return tuple(sorted(file.stem for file in SHIPPED.glob("*.yaml")))


def find_study(named: Path) -> Path | None:
    """Find a study by its file, its run folder or the name of a shipped one.

    Args:
        named: As a person gives it.

    Returns:
        The file or folder; None where it holds something else, or nothing is there.
    """
    if not named.exists():
        shipped = SHIPPED / f"{named}.yaml"
        is_name = len(named.parts) == 1 and shipped.is_file()
        return shipped if is_name else None
    return named if load_recipe(named).kind == STUDY else None


def read_study_file(file: Path) -> StudyFile:
    """Read a study file, or what a study's run folder remembers of one.

    Raises:
        StoreError: It is missing, no YAML or no study.
        UsageError: It says what a study does not have, or has no run.
    """
    saved = load_recipe(file)
    if saved.kind != STUDY:
        raise StoreError(
            f"{file}: holds `{saved.kind}`, not a study; name a study file"
        )
    unknown = sorted(set(saved.settings) - _KNOWN)
    if unknown:
        raise UsageError(
            f"{file}: a study has no `{unknown[0]}`; it has {', '.join(sorted(_KNOWN))}"
        )
    runs = saved.settings.get("runs")
    if not isinstance(runs, Mapping) or not runs:
        raise UsageError(f"{file}: names no run; list them by name under `runs:`")
    planned = tuple(_run(file, name, value) for name, value in runs.items())
    return StudyFile(
        file=file,
        title=_text(file, saved.settings, "title") or file.stem,
        about=_text(file, saved.settings, "about"),
        source=_text(file, saved.settings, "source"),
        seed=_seed(file, saved.settings),
        runs=planned,
    )


def chosen_runs(
    study: StudyFile, asked: Sequence[str], option: str
) -> tuple[PlannedRun, ...]:
    """The runs that are asked for, in the order of the study.

    Args:
        study: The study.
        asked: Names of runs; all where none is named.
        option: Where they were named, for errors.

    Raises:
        UsageError: The study has no run of such a name.
    """
    names = [run.name for run in study.runs]
    unknown = [name for name in asked if name not in names]
    if unknown:
        raise UsageError(
            f"{option} {unknown[0]}: {study.file} has no such run; it has "
            f"{', '.join(names)}"
        )
    return tuple(run for run in study.runs if not asked or run.name in asked)


def run_folders(folder: Path) -> tuple[Path, ...]:
    """The run folder itself, or those of a study's runs that were begun, then its own.

    Args:
        folder: A run folder, or one that holds no run.
    """
    if not (folder / RECIPE_FILE).is_file() or load_recipe(folder).kind != STUDY:
        return (folder,)
    inner = (folder / run.name for run in read_study_file(folder).runs)
    return (*(one for one in inner if (one / RECIPE_FILE).is_file()), folder)


def _run(file: Path, name: object, value: object) -> PlannedRun:
    where = f"{file}: run `{name}`"
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN:
        raise UsageError(
            f"{where}: is no name for a folder; use a-z, 0-9 and -, and not "
            f"{', '.join(_TAKEN)}"
        )
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise UsageError(f"{where}: says no `kind`; name a command, as in kind: trace")
    if value["kind"] == STUDY:
        raise UsageError(f"{where}: is a study itself; list its runs here instead")
    options = {k: v for k, v in value.items() if k not in ("kind", "version", "out")}
    return PlannedRun(name=name, kind=value["kind"], options=options)


def _seed(file: Path, settings: Mapping[str, object]) -> int:
    seed = settings.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise UsageError(f"{file}: `seed` is {seed!r}; write a whole number")
    return seed


def _text(file: Path, settings: Mapping[str, object], name: str) -> str:
    value = settings.get(name) or ""
    if not isinstance(value, str):
        raise UsageError(f"{file}: `{name}` is {value!r}; write a text")
    return " ".join(value.split())
