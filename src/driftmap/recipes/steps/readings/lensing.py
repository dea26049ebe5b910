"""What would a model say of the texts' tokens after each of its blocks?"""

from pathlib import Path

import numpy as np

from driftmap.capture.lens import logit_lens
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.readings.files import (
    LENS,
    LENS_KIND,
    LENS_STEP,
    load_readings,
)
from driftmap.recipes.steps.readings.reading import token_text
from driftmap.results.reading_study import LensSet, TextLens
from driftmap.results.readings import TokenReadings
from driftmap.store.arrays_apart import save_apart
from driftmap.store.steps import StepOutcome


def lens_step(study: Study, read: StepOutcome, most: int) -> StepOutcome:
    """Look at the first counted tokens of each text.

    Args:
        study: With the model.
        read: The finished step of readings.
        most: Tokens of each text (count).
    """

    def make(folder: Path) -> None:
        lenses = [_lens(study, one, most) for one in load_readings(read).readings]
        save_apart(folder, LENS, LensSet(lenses=tuple(lenses)), LENS_KIND)

    return study.run.step(LENS_STEP, {"of": read.key, "most": most}, make)


def _lens(study: Study, readings: TokenReadings, most: int) -> TextLens:
    spelled = readings.spelled
    first = spelled.num_context
    # What lies beyond the first window would be seen with another context there.
    past = min(spelled.token_ids.size, first + most, readings.window)
    ids = spelled.token_ids[:past]
    found = logit_lens(
        study.loaded.model, ids, np.arange(first - 1, past - 1), ids[first:]
    )
    tokens = [token_text(study.loaded, int(one)) for one in ids[first:]]
    return TextLens(
        name=readings.name,
        lens=found,
        tokens=tuple(tokens),
        tops=tuple(
            tuple(token_text(study.loaded, token) for token in row)
            for row in found.top_ids.tolist()
        ),
        num_left_out=spelled.token_ids.size - past,
    )
