"""Has a run of the same study done this step already?

Runs of one study lie beside each other in its folder. A step with the same name and
key gives the same files wherever it is done, so that it is done once and copied.
"""

import os
import shutil
from pathlib import Path

from driftmap.store import markers
from driftmap.store.markers import StepOutcome
from driftmap.store.recipe_file import RECIPE_FILE, load_recipe

STUDY = "study"
"""The kind of a run whose folder holds other runs."""


def find_beside(root: Path, name: str, key: str) -> StepOutcome | None:
    """Find the same step, finished and whole, in another run of the study.

    Args:
        root: The run folder; one that lies in no study has none beside it.
        name: The step's name.
        key: Its key.
    """
    study = root.absolute().parent
    if not _is_study(study):
        return None
    for other in sorted(p.parent.parent for p in study.glob(f"*/steps/{name}.json")):
        if other == root.absolute() or other.is_symlink():
            continue
        found = markers.find_finished(other, name)
        usable = found and found.key == key and not found.removed
        if found and usable and markers.first_fault(found) is None:
            return found
    return None


def copy_step(found: StepOutcome, folder: Path) -> None:
    """Put a step's files where the same step of another run would write them.

    Large files take no room twice where the disk can hold one under two names: a run
    replaces files and never writes into them.

    Args:
        found: What `find_beside` found.
        folder: The step's own folder, empty.
    """
    for name in found.files:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(found.root / name, target)
        except OSError:
            shutil.copyfile(found.root / name, target)


def _is_study(folder: Path) -> bool:
    return (folder / RECIPE_FILE).is_file() and load_recipe(folder).kind == STUDY
