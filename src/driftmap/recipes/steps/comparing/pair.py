"""Which two models are compared, and how do they come to stand beside each other?"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.load.attach import attach_adapter
from driftmap.load.identity import weights_sha256
from driftmap.load.masked_adapters import attach_masked_adapter, is_masked
from driftmap.load.model import LoadedModel
from driftmap.load.training_runs import CONFIG, MODEL_CONFIG, TrainingRun
from driftmap.load.twin import twin
from driftmap.load.whole_model import load_weights
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.checkpoints import whole_model
from driftmap.results.freezing import MASKED_WEIGHTS
from driftmap.store.files import sha256_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """A base model and what was made of it.

    Args:
        study: The run folder, the base model and the run's seed.
        run: Checkpoints of what was made of it; the last one is compared.
        tuned: The last one, ready to be asked. Of an adapter it shares the base's
            memory; the base is never changed.
    """

    study: Study
    run: TrainingRun
    tuned: LoadedModel

    @property
    def base(self) -> LoadedModel:
        """The model before tuning."""
        return self.study.loaded

    @property
    def inputs(self) -> Mapping[str, str]:
        """Which two models, for the key of a step that asks both."""
        return {
            "base": self.base.identity.sha256,
            "tuned": self.tuned.identity.sha256,
            "dtype": self.base.identity.dtype,
        }

    def sha256_at(self, step: int) -> str:
        """Hash of what a checkpoint computes, for the key of a step that asks it."""
        folder = self.run.checkpoints[step]
        return _sha256(self.base, folder, whole_model(folder))

    def at(self, step: int) -> LoadedModel:
        """The model at one of the checkpoints; asked for, it is loaded anew."""
        if step == self.run.last_step:
            return self.tuned
        return load_beside(self.base, self.run.checkpoints[step])


def load_beside(base: LoadedModel, folder: Path) -> LoadedModel:
    """Load what was made of a model, beside that model.

    Args:
        base: The model before tuning, without an adapter; it stays as it is.
        folder: Holds an adapter, one with frozen entries, or a whole model.

    Returns:
        The tuned model in eval mode, in the type and place of its base. An adapter
        stands on a twin of the base, a whole model takes memory of its own.

    Raises:
        ModelError: The folder is broken, or of another model.
    """
    whole = whole_model(folder)
    model: PreTrainedModel | PeftModel
    if whole is not None:
        model = load_weights(whole, like=cast(PreTrainedModel, base.model))
    else:
        attach = attach_masked_adapter if is_masked(folder) else attach_adapter
        model = attach(
            twin(cast(PreTrainedModel, base.model)),
            folder,
            base_name=base.identity.source,
            base_sha256=base.identity.base_sha256,
        )
        if getattr(base.model, "hf_device_map", None) is None:
            model.to(base.device)  # else its parts are where those of the base are
        model.eval().requires_grad_(False)
    identity = replace(
        base.identity, source=str(folder), sha256=_sha256(base, folder, whole)
    )
    return replace(base, model=model, identity=identity)


def _sha256(base: LoadedModel, folder: Path, whole: Path | None) -> str:
    """Over all that decides what the tuned model computes."""
    if whole is not None:
        parts = [weights_sha256(whole), sha256_of(whole / MODEL_CONFIG)]
    else:
        weights = (
            sha256_of(folder / MASKED_WEIGHTS)
            if is_masked(folder)
            else weights_sha256(folder)
        )
        config = folder / CONFIG
        parts = [base.identity.sha256, weights]
        parts += [sha256_of(config)] if config.is_file() else []
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
