"""Which model does training start from, and everything after it refer to?"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from driftmap.core.progress import say
from driftmap.families.quantised import four_bit
from driftmap.recipes.steps.bench import Study
from driftmap.tune.settings import TuningSettings


@contextmanager
def start_of_training(study: Study, settings: TuningSettings) -> Iterator[None]:
    """Have the study's model be what training starts from, for as long as it runs.

    With `--tune qlora` that is the model with its blocks rounded to 4 bits: drift,
    controls and behaviour before tuning are then those of the rounded weights. Groups
    are chosen before, on the model as it was loaded.

    Args:
        study: Folder and model; the provenance says that it is rounded.
        settings: Kind of tuning.
    """
    if not settings.is_four_bit:
        yield
        return
    identity = study.loaded.identity
    say("the blocks are rounded to 4 bits (nf4) from here on; groups are not")
    with four_bit(study.loaded.model):
        study.run.note_environment(
            num_threads=torch.get_num_threads(),
            device=identity.device,
            dtype=f"{identity.dtype}, blocks in nf4",
        )
        yield
