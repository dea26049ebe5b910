"""How are a base and what was made of it built, before a weight is read?"""

import hashlib
from pathlib import Path

from driftmap.core.progress import phase, say
from driftmap.load.structure import compare_structure
from driftmap.load.training_runs import TrainingRun
from driftmap.results.model_structure import StructureDiff
from driftmap.results.plain import from_plain, to_plain
from driftmap.store.markers import find_finished
from driftmap.store.plain import load_json, save_json, sorted_json
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

STRUCTURE = "structure"
STRUCTURE_KIND = "model-structure"


def structure_step(run: RunDir, base: str, tuned: TrainingRun) -> StepOutcome:
    """Put two models side by side, from configurations and headers of files alone.

    Args:
        run: Where the result goes.
        base: Folder or hub id of the model before tuning; where it is not at hand, an
            adapter is shown by itself.
        tuned: What was made of it; the last checkpoint counts.

    Raises:
        ModelError: A folder is broken, or the base of a whole model is not there.
    """
    with phase("read how both models are built"):
        found = compare_structure(base, tuned)
    if found.why_no_base:
        say(f"{found.why_no_base}; the adapter is shown by itself")
    plain = to_plain(found)
    assert isinstance(plain, dict)

    def make(folder: Path) -> None:
        save_json(folder / f"{STRUCTURE}.json", plain, STRUCTURE_KIND)

    # Reading it is faster than hashing all that it was read from.
    sha256 = hashlib.sha256(sorted_json(plain).encode()).hexdigest()
    return run.step(STRUCTURE, {"found": sha256}, make)


def read_structure(run: RunDir) -> StructureDiff | None:
    """What the step kept; None where it is not in the run."""
    if find_finished(run.path, STRUCTURE) is None:
        return None
    file = run.require(STRUCTURE).path(f"{STRUCTURE}.json")
    return from_plain(StructureDiff, load_json(file, STRUCTURE_KIND), str(file))
