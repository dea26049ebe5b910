"""What is kept of readings, and how is it read again without a model?"""

from driftmap.results.plain import from_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.results.reading_study import LensSet, ReadingSet
from driftmap.store.arrays_apart import load_apart
from driftmap.store.plain import load_json
from driftmap.store.steps import StepOutcome

READ_STEP = "read"
READINGS = "readings"
READINGS_KIND = "driftmap.token_readings"

TOKENS = "tables/tokens.parquet"
"""One row per token, for other programs."""

MODEL_FILE = "model.json"
MODEL_KIND = "driftmap.read_model"

LENS_STEP = "lens"
LENS = "lens"
LENS_KIND = "driftmap.token_lens"


def load_readings(step: StepOutcome) -> ReadingSet:
    """Readings of all texts."""
    folder = step.path(f"{READINGS}.json").parent
    return load_apart(folder, READINGS, ReadingSet, READINGS_KIND)


def load_identity(step: StepOutcome) -> ModelIdentity:
    """The model that was read."""
    plain = load_json(step.path(MODEL_FILE), MODEL_KIND)
    return from_plain(ModelIdentity, plain["model"])


def load_lenses(step: StepOutcome) -> LensSet:
    """The lens of all texts."""
    folder = step.path(f"{LENS}.json").parent
    return load_apart(folder, LENS, LensSet, LENS_KIND)
