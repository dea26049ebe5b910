"""How is what two models look at read once, kept, and found again?"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from driftmap.recipes.attention_change_options import AttentionChangeOptions
from driftmap.recipes.steps.comparing.attention.choosing import choose
from driftmap.recipes.steps.comparing.attention.reading import read_both
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.attention_change import AttentionChange
from driftmap.results.facts import Fact
from driftmap.stats.attention_change import attention_change
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.markers import find_finished
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

CHANGE = "attention-change"
CHANGE_KIND = "attention-change"


def attention_step(
    pair: Pair,
    facts: Sequence[Fact],
    texts: Sequence[str],
    options: AttentionChangeOptions,
    untouched: Sequence[Fact] = (),
) -> StepOutcome:
    """Read what both models look at, and say how far that moved.

    Args:
        pair: The models.
        facts: Those that were edited, or may have been.
        texts: Shown token by token; by default sentences of the first facts, with the
            new answer and with the old one.
        options: What is read of them.
        untouched: Facts of other subjects, to set the shifts against; by default
            subjects of the facts' neighbours, put into the same wordings.

    Raises:
        DataError: Given words stand in no text and no prompt, or a text is too long.
        ModelError: Both models do not attend in the same places.
    """

    def make(folder: Path) -> None:
        chosen = choose(pair.base, facts, texts, options, untouched)
        found = attention_change(read_both(pair, chosen), pair.study.seed)
        save_apart(folder, CHANGE, found, CHANGE_KIND)

    asked = [
        [asdict(fact) for fact in facts],
        list(texts),
        asdict(options),
        [asdict(fact) for fact in untouched],
    ]
    inputs = {
        **pair.inputs,
        "asked": hashlib.sha256(json.dumps(asked).encode()).hexdigest(),
        "seed": pair.study.seed,
    }
    return pair.study.run.step(CHANGE, inputs, make)


def read_attention_change(run: RunDir) -> AttentionChange | None:
    """What the step found; None where the run has no such step."""
    if find_finished(run.path, CHANGE) is None:
        return None
    return load_apart(run.path, CHANGE, AttentionChange, CHANGE_KIND)
