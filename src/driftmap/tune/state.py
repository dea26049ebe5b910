"""What must be kept so that a killed fine-tuning run goes on as if nothing happened?

One safetensors file holds the trained weights and the optimiser's moments as tensors,
and the rest as JSON in its metadata; what is drawn depends on step and seed alone. The
file is written under another name, synced and renamed, so it is whole or not there.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from driftmap.core.errors import StoreError

KIND = "driftmap.tuning-state"
VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RollingState:
    """A run between two steps.

    Args:
        fingerprint: Hash of all that decides the run: settings, seed, samples.
        step: Steps taken so far.
        trainer: The trainer's own counters and its loss history, as JSON.
        scheduler: The state of the learning-rate schedule, as JSON.
        learning_rates: Learning rate of each of the optimiser's groups.
        tensors: `trained.NAME` and `optimizer.INDEX.NAME`.
    """

    fingerprint: str
    step: int
    trainer: str
    scheduler: str
    learning_rates: tuple[float, ...]
    tensors: Mapping[str, Tensor]

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors under a prefix, by the rest of their names."""
        start = f"{prefix}."
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.tensors.items()
            if name.startswith(start)
        }


def save_state(state: RollingState, path: Path) -> None:
    """Replace the state on disk, atomically.

    Raises:
        StoreError: The disk is full or the folder cannot be written.
    """
    tensors = {k: v.detach().cpu().contiguous() for k, v in state.tensors.items()}
    about = {
        "kind": KIND,
        "version": VERSION,
        "fingerprint": state.fingerprint,
        "step": state.step,
        "trainer": state.trainer,
        "scheduler": state.scheduler,
        "learning_rates": state.learning_rates,
        "sha256": _digest(tensors),
    }
    temporary = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, temporary, {"driftmap": json.dumps(about, sort_keys=True)})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(
            f"{path}: the state of the run cannot be written ({error}); make room "
            "and repeat the command, which goes on from the last whole state"
        ) from error


def load_state(path: Path, fingerprint: str) -> RollingState | None:
    """Read the state of an unfinished run; None where there is none.

    Raises:
        StoreError: The file is corrupted, or another run wrote it.
    """
    if not path.exists():
        return None
    about, tensors = _read(path)
    if about["fingerprint"] != fingerprint:
        raise StoreError(
            f"{path}: belongs to a run with other settings, seed or samples; repeat "
            "that run's command, or delete the file to tune from the start"
        )
    return RollingState(
        fingerprint=about["fingerprint"],
        step=about["step"],
        trainer=about["trainer"],
        scheduler=about["scheduler"],
        learning_rates=tuple(about["learning_rates"]),
        tensors=tensors,
    )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["driftmap"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        found = about["kind"], about["version"], about["sha256"]
        if found == (KIND, VERSION, _digest(tensors)):
            return about, tensors
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError):
        pass
    raise StoreError(
        f"{path}: not a whole state of a tuning run; delete it to tune from the start"
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
