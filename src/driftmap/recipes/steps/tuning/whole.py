"""How do whole models that were trained elsewhere count as a training run?

They are read where they lie, matrix by matrix, and never copied or loaded together.
"""

from collections.abc import Collection, Sequence
from pathlib import Path

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.load.full_changes import StoredMatrices, moved_sites
from driftmap.load.other_parts import other_parts
from driftmap.load.training_runs import TrainingRun
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.checkpoints import (
    WHOLE_CARD,
    WHOLE_KIND,
    base_matrices,
)
from driftmap.store.plain import save_json

MOST_NAMED = 3
"""Further parts that are named; the others are counted."""


def mobile_sites(study: Study, runs: Sequence[TrainingRun]) -> tuple[Site, ...]:
    """Check every whole checkpoint, and tell which matrices differ in the last ones.

    Raises:
        ModelError: A checkpoint is broken, quantised or of another model, is the model
            under study itself, or the runs move different matrices.
    """
    before, sites = base_matrices(study), study.loaded.layout.sites
    first = runs[0].last
    tuned = moved_sites(before, StoredMatrices(first, before.places), sites)
    if not tuned:
        raise ModelError(
            f"{first}: no matrix of its blocks differs from {before.folder}; give "
            "checkpoints of later steps, and the model from before training as --model"
        )
    for run in runs:
        for folder in run.checkpoints.values():
            stored = StoredMatrices(folder, before.places)
            for site in sites:
                stored.tensor_of(site)
            if folder == run.last and run is not runs[0]:
                require_same_sites(
                    folder, moved_sites(before, stored, sites), first, tuned
                )
    others = other_parts(before, StoredMatrices(first, before.places), sites)
    say_others(first, [str(part) for part in others])
    return tuned


def write_card(folder: Path, hashes: tuple[str, str], target: Path) -> None:
    """Note where a whole model lies and what it holds.

    Args:
        folder: The checkpoint.
        hashes: Of its configuration and of its weights.
        target: Folder of the step in the run folder.
    """
    config, weights = hashes
    card = {
        "folder": str(folder.resolve()),
        "config_sha256": config,
        "weights_sha256": weights,
    }
    target.mkdir(parents=True)
    save_json(target / WHOLE_CARD, card, WHOLE_KIND)


def require_same_sites(
    folder: Path, found: Collection[Site], first: Path, tuned: Collection[Site]
) -> None:
    """Refuse runs that tune different matrices.

    Raises:
        ModelError: They do.
    """
    odd = sorted(site.key for site in set(found) ^ set(tuned))
    if odd:
        raise ModelError(
            f"{folder}: only one of it and {first} tunes {odd[0]}; give repetitions of "
            "one training, with other seeds alone"
        )


def say_others(folder: Path, others: Sequence[str]) -> None:
    """Name what tuning changed beside the matrices that groups live in."""
    if others:
        more = f" and {len(others) - MOST_NAMED} more" * (len(others) > MOST_NAMED)
        say(
            f"{folder}: it also tunes {', '.join(others[:MOST_NAMED])}{more}, which "
            "counts in the behaviour but holds no weight of a group"
        )
