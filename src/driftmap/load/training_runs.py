"""Which checkpoints did a training run made elsewhere leave, and at which steps?

A checkpoint is an adapter, or a whole model where every weight was tuned.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from driftmap.core.errors import ModelError
from driftmap.core.progress import say

MODEL_CONFIG = "config.json"
CONFIG, TRAINER_STATE = "adapter_config.json", "trainer_state.json"

UNKNOWN_STEP = 1
"""What the step of a single checkpoint counts as where nothing tells it."""

_CHECKPOINT = re.compile(r"(?:checkpoint|step)-(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One training run, as its folder tells it.

    Args:
        folder: The folder that was named.
        checkpoints: Folder by training step, ascending; step 0 is in it only where it
            was saved.
        is_full: Whether they are whole models; else they are adapters.
        state: `trainer_state.json` of the last one; None where there is none.
    """

    folder: Path
    checkpoints: Mapping[int, Path]
    is_full: bool
    state: Path | None

    @property
    def last_step(self) -> int:
        """The step that is tested."""
        return max(self.checkpoints)

    @property
    def last(self) -> Path:
        """The folder of the last step."""
        return self.checkpoints[self.last_step]


def find_runs(folders: Sequence[Path]) -> tuple[TrainingRun, ...]:
    """Find the checkpoints of repetitions of one training, without reading them.

    Args:
        folders: One per run: it holds `checkpoint-500` and the like, as the Hugging
            Face Trainer saves them, or `step-000500`, or is a single checkpoint.

    Returns:
        The runs in the order given, cut to the steps that all of them have; none for
        no folder.

    Raises:
        ModelError: A folder holds no checkpoint, is given twice, the runs do not end
            at the same step, or some are adapters and some whole models.
    """
    runs = [_run(folder) for folder in folders]
    for number, run in enumerate(runs):
        if run.folder.resolve() in [r.folder.resolve() for r in runs[:number]]:
            raise ModelError(
                f"{run.folder}: is given twice; each --checkpoints is a training run "
                "of its own, with another seed"
            )
        if run.last_step != runs[0].last_step:
            raise ModelError(
                f"{run.folder}: ends at step {run.last_step}, {runs[0].folder} at step "
                f"{runs[0].last_step}; give runs of one length, or remove the later "
                "checkpoints"
            )
        if run.is_full != runs[0].is_full:
            full, other = (run, runs[0]) if run.is_full else (runs[0], run)
            raise ModelError(
                f"{full.folder}: holds whole models, {other.folder} adapters; give "
                "repetitions of one training"
            )
    steps = [set(run.checkpoints) for run in runs]
    shared = set.intersection(*steps) if steps else set()
    return tuple(_cut(run, shared) for run in runs)


def _run(folder: Path) -> TrainingRun:
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; check --checkpoints")
    checkpoints = _checkpoints(folder)
    if checkpoints and _is_checkpoint(folder):
        what = "model" if _is_full(folder) else "adapter"
        say(f"{folder}: its checkpoints are read, not the {what} beside them")
    if not checkpoints:
        checkpoints = {_step_of(folder): folder}
    if max(checkpoints) == 0:
        raise ModelError(
            f"{folder}: holds only step 0, from before training; give a later "
            "checkpoint"
        )
    kinds = {_is_full(inner): inner for inner in checkpoints.values()}
    if len(kinds) > 1:
        raise ModelError(
            f"{folder}: {kinds[True].name} is a whole model, {kinds[False].name} is "
            "not; give the folder of one training"
        )
    state = checkpoints[max(checkpoints)] / TRAINER_STATE
    return TrainingRun(
        folder=folder,
        checkpoints=checkpoints,
        is_full=next(iter(kinds)),
        state=state if state.is_file() else None,
    )


def _is_checkpoint(folder: Path) -> bool:
    return (folder / CONFIG).is_file() or _is_full(folder)


def _is_full(folder: Path) -> bool:
    """Whether a whole model lies here: trainers save the base's own configuration."""
    return (folder / MODEL_CONFIG).is_file() and not (folder / CONFIG).is_file()


def _checkpoints(folder: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for inner in sorted(folder.iterdir()):
        match = _CHECKPOINT.fullmatch(inner.name)
        if match is None or not inner.is_dir():
            continue
        step = int(match[1])
        if step in found:
            raise ModelError(
                f"{folder}: {found[step].name} and {inner.name} are both step {step}; "
                "move one of them away"
            )
        found[step] = inner
    return dict(sorted(found.items()))


def _step_of(folder: Path) -> int:
    """The step of a single checkpoint: from its name, else from its trainer's state."""
    if not _is_checkpoint(folder):
        raise _nothing_there(folder)
    match = _CHECKPOINT.fullmatch(folder.resolve().name)
    if match is not None:
        return int(match[1])
    state = folder / TRAINER_STATE
    step = read_state(state).get("global_step") if state.is_file() else None
    if isinstance(step, int) and step > 0:
        return step
    say(f"{folder}: its training step is not known and is shown as {UNKNOWN_STEP}")
    return UNKNOWN_STEP


def read_state(file: Path) -> Mapping[str, object]:
    """Read `trainer_state.json`.

    Raises:
        ModelError: It is damaged.
    """
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ModelError(
            f"{file}: is damaged ({error}); copy it again, or remove it: only the "
            "training loss is read from it"
        ) from error
    if not isinstance(state, dict):
        raise ModelError(
            f"{file}: holds no trainer's state; remove it: only the training loss is "
            "read from it"
        )
    return state


def _nothing_there(folder: Path) -> ModelError:
    deeper = sorted(
        f"{inner.parent.relative_to(folder)}"
        for pattern in ("*/", "*/*/")
        for inner in folder.glob(f"{pattern}*-*")
        if inner.is_dir() and _CHECKPOINT.fullmatch(inner.name)
    )
    if deeper:
        runs = list(dict.fromkeys(deeper))
        return ModelError(
            f"{folder}: holds {len(runs)} training run{'s' * (len(runs) != 1)} "
            f"({', '.join(runs[:3])}); give --checkpoints once for each of them"
        )
    return ModelError(
        f"{folder}: holds no checkpoint; give a folder with `checkpoint-500` and the "
        f"like in it, one that holds {CONFIG} and adapter_model.safetensors, or one "
        "of a whole model"
    )


def _cut(run: TrainingRun, shared: set[int]) -> TrainingRun:
    left_out = [str(step) for step in run.checkpoints if step not in shared]
    if left_out:
        say(
            f"{run.folder}: step {', '.join(left_out)} is left out, since not every "
            "run has it"
        )
    kept = {s: folder for s, folder in run.checkpoints.items() if s in shared}
    return replace(run, checkpoints=kept)
