"""What of a run can be spared, how large is it, and how does it go?

The report needs groups, tables and statistics. Scores and adapters are only needed
to measure again, and a later run makes them again. What a killed process left outside
the folder, or half-written inside it, is of no use to anyone. The checkpoints that
killed training goes on from are of use: they go with the adapters alone.
"""

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from driftmap.core.progress import say
from driftmap.core.scratch import clear_leftovers, leftovers
from driftmap.core.units import format_bytes, format_count
from driftmap.recipes.steps.logbook import logged
from driftmap.store import steps
from driftmap.store.border import LOCK, refuse_in_use
from driftmap.store.files import explaining, remove
from driftmap.store.markers import all_finished
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir

ADAPTERS = {"checkpoints": "adapters", "merged": "merged models"}
"""What goes with `--checkpoints` alone, by the folder it lies in."""

_SCORES = {"scores": "kept scores"}
_NEEDED = {"groups": "groups", "tables": "tables", "json": "exported JSON"}
_TRAINING = "unfinished training"
_FINISHING = "a step that the next command finishes"
_OWN = ("run.yaml", "provenance.json", "log.txt", "steps")
_REST = "report, statistics, settings, log"

Sizes = dict[str, list[int]]
"""Size of every file, by what the files are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Inventory:
    """What a run holds.

    Args:
        remains: Files and folders in the run folder that a killed process left.
        training: Checkpoints of unfinished training that go.
        files: Files of finished steps that go, by step.
        freed: What goes.
        kept: What stays.
    """

    remains: list[Path]
    training: list[Path]
    files: dict[str, list[str]]
    freed: Sizes
    kept: Sizes


def clean(folder: Path, *, checkpoints: bool) -> None:
    """Remove from a run what its report does not need, and say what it was.

    Args:
        folder: The run folder.
        checkpoints: Whether adapters and merged models go as well.

    Raises:
        StoreError: The folder holds no run, or the run is in use.
    """
    with closing(RunDir.hold(folder)) as run, explaining(folder):
        steps.finish_planned(folder)
        found = _inventory(folder, checkpoints=checkpoints)
        with logged(folder, "clean"):
            clear_leftovers(folder, _chosen_scratch(folder))
            for path in found.remains:
                remove(path)
            for path in found.training:
                steps.remove_work(path)
            for name, files in found.files.items():
                run.clean_away(name, files)
            _tell(found, freed="freed", kept="kept")


def say_what_would_go(folder: Path, *, checkpoints: bool) -> None:
    """Say what `clean` would remove, and change nothing.

    Args:
        folder: The run folder.
        checkpoints: Whether adapters and merged models would go as well.

    Raises:
        StoreError: The folder holds no run, or the run is in use.
    """
    refuse_in_use(folder)
    found = _inventory(folder, checkpoints=checkpoints)
    _tell(found, freed="would free", kept="would keep")


def _tell(found: _Inventory, *, freed: str, kept: str) -> None:
    for label, sizes in found.freed.items():
        say(f"{freed} {_amount(sizes)}: {label}")
    for label, sizes in found.kept.items():
        more = "; --checkpoints frees it" if label in _with_checkpoints() else ""
        say(f"{kept} {_amount(sizes)}: {label}{more}")
    total = _total(found.freed)
    said = f"{freed} {format_bytes(total)}" if found.freed else "nothing to free"
    say(f"in all: {said}, {kept} {format_bytes(_total(found.kept))}")


def _amount(sizes: list[int]) -> str:
    files = "1 file" if len(sizes) == 1 else f"{format_count(len(sizes))} files"
    return f"{format_bytes(sum(sizes))} in {files}"


def _total(sizes: Sizes) -> int:
    return sum(size for of_label in sizes.values() for size in of_label)


def _with_checkpoints() -> tuple[str, ...]:
    return (*ADAPTERS.values(), _TRAINING)


def _inventory(folder: Path, *, checkpoints: bool) -> _Inventory:
    """Look at a run folder and at its scratch, without changing anything."""
    going = {**_SCORES, **(ADAPTERS if checkpoints else {})}
    files = {
        step.name: [
            name
            for name in step.files
            if _top(name) in going and (folder / name).is_file()
        ]
        for step in all_finished(folder)
    }
    useless = steps.work_folders(folder, of_use=False)
    unfinished = steps.work_folders(folder, of_use=True)
    half_written = steps.half_written(folder)
    training = [*useless, *(unfinished if checkpoints else [])]
    scratch = leftovers(folder, _chosen_scratch(folder))
    labels = dict.fromkeys(_files_under(scratch), "scratch of a killed process")
    remains = _files_under([*half_written, *useless])
    labels |= dict.fromkeys(remains, "remains of a killed process")
    if checkpoints:
        labels |= dict.fromkeys(_files_under(unfinished), _TRAINING)
    labels |= {
        folder / name: going[_top(name)] for names in files.values() for name in names
    }
    return _Inventory(
        remains=half_written,
        training=training,
        files={name: names for name, names in files.items() if names},
        freed=_sizes(labels),
        kept=_sizes(_kept_labels(folder, unfinished, set(labels))),
    )


def _kept_labels(
    folder: Path, unfinished: list[Path], freed: set[Path]
) -> dict[Path, str]:
    """Say of every file that stays what it is."""
    finishing = {folder / name for name in steps.planned_files(folder)}
    finishing |= _files_under((folder / "steps").glob(".*.partial"))
    training = _files_under(unfinished)
    ours = {folder / name for step in all_finished(folder) for name in step.files}
    labels = {}
    for file in sorted(_files_under([folder]) - freed - {folder / LOCK}):
        top = _top(file.relative_to(folder).as_posix())
        if file in finishing:
            labels[file] = _FINISHING
        elif file in training:
            labels[file] = _TRAINING
        elif file in ours:
            labels[file] = {**ADAPTERS, **_NEEDED}.get(top, _REST)
        else:
            labels[file] = _REST if top in _OWN else "files of your own"
    return labels


def _sizes(labels: Mapping[Path, str]) -> Sizes:
    sizes: Sizes = {}
    for file, label in labels.items():
        sizes.setdefault(label, []).append(file.stat().st_size)
    return sizes


def _files_under(places: Iterable[Path]) -> set[Path]:
    """Files at these places and in the folders among them."""
    found = {p for place in places for p in (place, *place.rglob("*"))}
    return {path for path in found if path.is_file()}


def _top(name: str) -> str:
    return name.split("/")[0]


def _chosen_scratch(folder: Path) -> Path | None:
    """Where the run's settings say that large temporary files go."""
    output = load_recipe(folder).settings.get("output")
    known = cast(Mapping[str, object], output if isinstance(output, Mapping) else {})
    chosen = known.get("scratch")
    return Path(chosen) if isinstance(chosen, str) else None
