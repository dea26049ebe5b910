"""Which folder may a run be written to, and how are others kept out of it?"""

from collections.abc import Collection, Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from driftmap.core.errors import StoreError
from driftmap.store.files import explaining
from driftmap.store.recipe_file import (
    RECIPE_FILE,
    differing,
    load_recipe,
    settings_under,
)

LOCK = ".lock"


def locked(
    path: Path, *, remedy: str = "wait for it to end or choose another --out"
) -> FileLock:
    """Make the folder if it is missing, and keep others from writing to it.

    Args:
        path: The run folder.
        remedy: What to do where another process is writing to it.

    Raises:
        StoreError: Another process does, or the folder may not be written to.
    """
    with explaining(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:
            raise StoreError(
                f"{path}: cannot be made here; choose another --out"
            ) from error
        lock = FileLock(path / LOCK, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise StoreError(
                f"{path}: another driftmap is writing this run; {remedy}"
            ) from None
    return lock


def refuse_foreign(path: Path) -> None:
    """Refuse to begin a run among files of something else.

    Raises:
        StoreError: The folder holds such files, or is a file.
    """
    if path.exists() and not path.is_dir():
        raise StoreError(f"{path}: is a file, not a folder; choose another --out")
    if not path.is_dir() or (path / RECIPE_FILE).exists():
        return
    own = (LOCK, f".{RECIPE_FILE}.")
    foreign = sorted(p.name for p in path.iterdir() if not p.name.startswith(own))
    if foreign:
        raise StoreError(
            f"{path}: holds files of something else ({', '.join(foreign[:3])}) and no "
            f"{RECIPE_FILE}; choose another --out or an empty folder"
        )


def refuse_other(
    path: Path, recipe: Mapping[str, object], kind: str, may_change: Collection[str]
) -> None:
    """Refuse to go on with a run of another kind or with other settings.

    Args:
        path: The run folder.
        recipe: The settings of now.
        kind: Which recipe they are of.
        may_change: Dotted names of settings that may differ.

    Raises:
        StoreError: The folder holds such a run; what differs is named.
    """
    if not (path / RECIPE_FILE).exists():
        return
    saved = load_recipe(path)
    if saved.kind != kind:
        raise StoreError(
            f"{path}: holds a run of `{saved.kind}`, not `{kind}`; choose another --out"
        )
    differences = differing(saved.settings, recipe, may_change)
    if differences:
        raise StoreError(
            f"{path}: holds a run with other settings: {', '.join(differences)}; "
            "choose another --out or repeat the settings of the run"
            f"{_changeable(recipe, may_change)}"
        )


def locked_run(path: Path) -> FileLock:
    """Keep others from writing to a run that is there.

    Raises:
        StoreError: The folder holds no run, or another process is writing it.
    """
    _require_run(path)
    return locked(path, remedy="wait for it to end")


def refuse_in_use(path: Path) -> None:
    """Refuse a run that another process is writing, without changing anything.

    Raises:
        StoreError: It is, or the folder holds no run.
    """
    _require_run(path)
    if (path / LOCK).exists():
        locked_run(path).release()


def _require_run(path: Path) -> None:
    """Refuse a folder that holds no run.

    Raises:
        StoreError: It is such a folder, or its settings cannot be read.
    """
    if not (path / RECIPE_FILE).is_file() or not (path / "steps").is_dir():
        raise StoreError(f"{path}: holds no run; name a folder that driftmap wrote")
    load_recipe(path)


def _changeable(recipe: Mapping[str, object], may_change: Collection[str]) -> str:
    """Say which options may change within a run; one that names the run is none."""
    names = [name.split(".")[-1] for name in settings_under(recipe, may_change)]
    options = [f"--{name.replace('_', '-')}" for name in names if name != "out"]
    return f" (only {', '.join(options)} may change within it)" if options else ""
