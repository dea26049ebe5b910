"""Which states does the model have at the tokens that are read?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from driftmap.capture.token_states import token_states
from driftmap.load.contrasts import Contrast
from driftmap.recipes.steps.bench import Study, batches_of
from driftmap.results.samples import EncodedSample
from driftmap.signals.contrasts import PairStates

States = Float32[np.ndarray, "place layer width"]


def pair_states(
    study: Study,
    contrasts: Sequence[Contrast],
    layers: Sequence[int],
    batch_size: int,
) -> PairStates:
    """Read every cut of every statement, under both instructions.

    Args:
        study: With the model.
        contrasts: Statements behind both instructions, at least one.
        layers: Blocks that are read.
        batch_size: Texts in one forward pass.

    Returns:
        Pairs by statement, then by cut; statements are numbered from 0.
    """
    wanted = [one for pair in contrasts for one in read_at(pair)]
    read = states_at(study, wanted, layers, batch_size)
    counts = [len(one.cuts) for one in contrasts]
    return PairStates(
        honest=np.concatenate(read[0::2]),
        dishonest=np.concatenate(read[1::2]),
        statement=np.repeat(np.arange(len(contrasts)), counts),
    )


def read_at(contrast: Contrast) -> tuple[EncodedSample, EncodedSample]:
    """Both sides of a contrast, with the last token of each cut marked."""
    honest, dishonest = (
        marked(
            f"{contrast.statement.id} ({name})",
            spoken.token_ids,
            [spoken.start + cut - 1 for cut in contrast.cuts],
        )
        for name, spoken in (
            ("honest", contrast.honest),
            ("dishonest", contrast.dishonest),
        )
    )
    return honest, dishonest


def marked(name: str, ids: Sequence[int], places: Sequence[int]) -> EncodedSample:
    """A text of which some tokens are read."""
    flags = np.zeros(len(ids), bool)
    flags[list(places)] = True
    return EncodedSample(
        sample_id=name,
        token_ids=np.array(ids, np.int32),
        counted=flags,
        prompt_length=0,
    )


def states_at(
    study: Study,
    wanted: Sequence[EncodedSample],
    layers: Sequence[int],
    batch_size: int,
) -> tuple[States, ...]:
    """Block outputs at the marked tokens of each text."""
    batches = batches_of(study.loaded, wanted, batch_size, positions="labels")
    return token_states(study.loaded.model, batches, layers)
