"""Where does a run keep what two models say of facts? Read without a model."""

from driftmap.results.edits import EditReport
from driftmap.store.arrays_apart import load_apart
from driftmap.store.run_dir import RunDir

STEP = "edits"
EDITS = "edits"
KIND = "edits"
TABLE = "tables/edits.parquet"


def read_edits(run: RunDir) -> EditReport | None:
    """Find what the step found; None where it is not in the run."""
    if not run.is_finished(STEP):
        return None
    return load_apart(run.path, EDITS, EditReport, KIND)
