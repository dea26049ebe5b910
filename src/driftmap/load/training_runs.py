"""Which adapters did a training run made elsewhere leave, and at which steps?"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import ModelError
from driftmap.core.progress import say

CONFIG, TRAINER_STATE = "adapter_config.json", "trainer_state.json"

UNKNOWN_STEP = 1
"""What the step of a single adapter counts as where nothing tells it."""

_CHECKPOINT = re.compile(r"(?:checkpoint|step)-(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """One training run, as its folder tells it.

    Args:
        folder: The folder that was named.
        adapters: Adapter folder by training step, ascending; step 0 is in it only
            where it was saved.
        state: `trainer_state.json` of the last one; None where there is none.
    """

    folder: Path
    adapters: Mapping[int, Path]
    state: Path | None

    @property
    def last_step(self) -> int:
        """The step that is tested."""
        return max(self.adapters)

    @property
    def last(self) -> Path:
        """The adapter folder of the last step."""
        return self.adapters[self.last_step]


def find_runs(folders: Sequence[Path]) -> tuple[TrainingRun, ...]:
    """Find the checkpoints of repetitions of one training, without reading adapters.

    Args:
        folders: One per run: it holds `checkpoint-500` and the like, as the Hugging
            Face Trainer saves them, or `step-000500`, or is a single adapter.

    Returns:
        The runs in the order given, cut to the steps that all of them have; none for
        no folder.

    Raises:
        ModelError: A folder holds no adapter, is given twice, or the runs do not end
            at the same step.
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
    steps = [set(run.adapters) for run in runs]
    shared = set.intersection(*steps) if steps else set()
    return tuple(_cut(run, shared) for run in runs)


def _run(folder: Path) -> TrainingRun:
    if not folder.is_dir():
        raise ModelError(f"{folder}: there is no such folder; check --checkpoints")
    adapters = _checkpoints(folder)
    if adapters and (folder / CONFIG).is_file():
        say(f"{folder}: its checkpoints are read, not the adapter beside them")
    if not adapters:
        adapters = {_step_of(folder): folder}
    if max(adapters) == 0:
        raise ModelError(
            f"{folder}: holds only step 0, from before training; give a later adapter"
        )
    state = adapters[max(adapters)] / TRAINER_STATE
    return TrainingRun(
        folder=folder, adapters=adapters, state=state if state.is_file() else None
    )


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
    """The step of a single adapter: from its trainer's state, else from its name."""
    if not (folder / CONFIG).is_file():
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
        f"{folder}: holds no adapter; give a folder with `checkpoint-500` and the like "
        f"in it, or one that holds {CONFIG} and adapter_model.safetensors"
    )


def _cut(run: TrainingRun, shared: set[int]) -> TrainingRun:
    left_out = [str(step) for step in run.adapters if step not in shared]
    if left_out:
        say(
            f"{run.folder}: step {', '.join(left_out)} is left out, since not every "
            "run has it"
        )
    kept = {step: run.adapters[step] for step in run.adapters if step in shared}
    return TrainingRun(folder=run.folder, adapters=kept, state=run.state)
