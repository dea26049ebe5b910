"""What did somebody make of a base model: an adapter, a model, or several of them?"""

from collections.abc import Sequence
from pathlib import Path

from driftmap.core.errors import ModelError
from driftmap.load.checkpoint import find_folder
from driftmap.load.training_runs import TrainingRun, find_runs


def find_tuned(names: Sequence[str]) -> TrainingRun:
    """Find what was tuned, without reading its weights.

    Args:
        names: One folder or hub id of an adapter or a whole model, or of a training
            run with `checkpoint-500` and the like in it; or several checkpoints of one
            training, ordered by the steps that their names or trainers tell, else as
            they are given.

    Returns:
        Checkpoints by step, ascending; the last one is what was made.

    Raises:
        ModelError: A name leads to no checkpoint, two are of one step, or some are
            adapters and some whole models.
    """
    runs = [find_runs([Path(find_folder(name))])[0] for name in names]
    if len(runs) == 1:
        return runs[0]
    several = next((run for run in runs if len(run.checkpoints) > 1), None)
    if several is not None:
        raise ModelError(
            f"{several.folder}: holds several checkpoints; give this folder alone, or "
            "single checkpoints"
        )
    kinds = {run.is_full: run for run in runs}
    if len(kinds) > 1:
        raise ModelError(
            f"{kinds[True].folder}: is a whole model, {kinds[False].folder} is an "
            "adapter; give checkpoints of one training"
        )
    return _joined(runs)


def _joined(runs: Sequence[TrainingRun]) -> TrainingRun:
    steps = [run.last_step for run in runs]
    if len(set(steps)) == 1:  # nothing tells them apart but their order
        steps = list(range(1, len(runs) + 1))
    found: dict[int, Path] = {}
    for step, run in sorted(zip(steps, runs, strict=True), key=lambda pair: pair[0]):
        if step in found:
            raise ModelError(
                f"{found[step]} and {run.last} are both step {step}; give each "
                "checkpoint once, in folders named `checkpoint-500` and the like"
            )
        found[step] = run.last
    last = max(zip(steps, runs, strict=True), key=lambda pair: pair[0])[1]
    return TrainingRun(
        folder=last.folder, checkpoints=found, is_full=last.is_full, state=last.state
    )
