"""In which order is it found where a change acts?"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.facts import Fact
from driftmap.results.plain import to_plain
from driftmap.results.probes import Probes
from driftmap.results.where_it_acts import WhereItActs
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

NAME, KIND = "where", "driftmap.where"


def where_step(
    pair: Pair, facts: Sequence[Fact], probes: Probes, options: WhereOptions
) -> StepOutcome:
    """Write `where.json` and `where.safetensors`: where the change acts.

    Args:
        pair: The two models.
        facts: Facts with the true answer and the taught one as the foil. Without any,
            what the two say to the requests of the probes tells them apart.
        probes: What else both are asked.
        options: How much is exchanged, mixed and traced.

    Raises:
        ModelError: The two differ in more than their weights.
    """

    def make(folder: Path) -> None:
        save_apart(folder, NAME, found_of(pair, facts, probes, options), KIND)

    inputs = {
        **pair.inputs,
        "facts": _sha256(facts),
        "probes": probes.sha256,
        "seed": pair.study.seed,
        "options": {k: v for k, v in asdict(options).items() if k != "batch_size"},
    }
    return pair.study.run.step(NAME, inputs, make)


def read_where(run: RunDir) -> WhereItActs | None:
    """Read what `where_step` wrote; None where the step is not in the run."""
    if not run.is_finished(NAME):
        return None
    return load_apart(run.path, NAME, WhereItActs, KIND)


def found_of(
    pair: Pair, facts: Sequence[Fact], probes: Probes, options: WhereOptions
) -> WhereItActs:
    """Ask all questions of two models; see `where_step`."""
    return WhereItActs(
        identical=False,
        behaviour="taught answers" if facts else "own words",
        num_layers=len(pair.base.layout.blocks),
    )


def _sha256(facts: Sequence[Fact]) -> str:
    told = [to_plain(fact) for fact in facts]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
