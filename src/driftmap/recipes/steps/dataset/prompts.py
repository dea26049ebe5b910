"""Which prompts does the studied model answer, and how long may each answer be?"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from driftmap.load.encoding import encode_prompts
from driftmap.load.model import LoadedModel
from driftmap.load.own_ids import Version
from driftmap.load.paired_sets import read_originals
from driftmap.recipes.steps.dataset.sets import needed, version_id
from driftmap.results.samples import EncodedSample, Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prompt:
    """One prompt that is to be answered.

    Args:
        id: The id of its row.
        sample: What it is the prompt of.
        flags: What is odd about that sample.
        encoded: The prompt as the model's tokens.
        room: Most tokens that the answer may have.
        key: What the answer depends on.
    """

    id: str
    sample: Sample
    flags: tuple[str, ...]
    encoded: EncodedSample
    room: int
    key: str


def read_prompts(
    folder: Path, prompts: Literal["paraphrased", "original"]
) -> tuple[Version, str]:
    """Read the set whose prompts are answered.

    Args:
        folder: Where it lies.
        prompts: Which set.

    Returns:
        Its samples, and the hash of the file.

    Raises:
        StoreError: It is not there.
    """
    place = needed(folder, prompts)
    found = read_originals(str(place.rows))
    return found, found.sha256


def prompts_of(
    found: Version, loaded: LoadedModel, longest: int, said: Sequence[object]
) -> tuple[Prompt, ...]:
    """Encode prompts, with the room that the context leaves for each answer.

    Args:
        found: The set.
        loaded: Who answers.
        longest: Longest answer (tokens).
        said: What else an answer depends on.
    """
    encoded = encode_prompts(found.samples, loaded.tokenizer)
    numbers: Counter[str] = Counter()
    prompts = []
    for sample, one in zip(found.samples, encoded, strict=True):
        numbers[sample.original_id] += 1
        context = loaded.context_length
        free = longest if context is None else context - len(one.token_ids)
        room = min(longest, free)
        told = json.dumps([*said, one.token_ids.tolist(), room])
        prompts.append(
            Prompt(
                id=version_id(
                    sample.original_id, "generated", numbers[sample.original_id]
                ),
                sample=sample,
                flags=_flags(found, sample),
                encoded=one,
                room=room,
                key=hashlib.sha256(told.encode()).hexdigest(),
            )
        )
    return tuple(prompts)


def _flags(found: Version, sample: Sample) -> tuple[str, ...]:
    remarks = found.remarks.get(sample.id, ())
    return tuple(
        f"its prompt: {one.removeprefix('flagged: ')}"
        for one in remarks
        if one.startswith("flagged: ")
    )
