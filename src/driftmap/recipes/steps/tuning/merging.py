"""How is a tuned model written as one folder that loads by itself?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from driftmap.load.masked_adapters import is_masked, merged_masked_tensors
from driftmap.load.merged import merged_tensors
from driftmap.load.quiet import no_bars
from driftmap.load.whole_model import load_weights
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.checkpoints import whole_model
from driftmap.recipes.steps.tuning.training import checkpoint_folders
from driftmap.store.steps import StepOutcome

LARGEST_FILE = "5GB"
"""Weights beyond this go into further files."""

_GENERATION_FILE = "generation_config.json"


def merge_step(study: Study, tuned: StepOutcome, number: int) -> StepOutcome:
    """Write `merged/seed-K/`: the model with the last checkpoint of a run merged in.

    The folder holds safetensors weights in the study's number type, configuration
    and tokenizer, and loads with `from_pretrained`. The study's model is only read;
    memory is needed for one more copy of the tuned matrices, or of the model where
    every parameter was tuned.

    Args:
        study: Folder, model and seed.
        tuned: The training run.
        number: Which one, from 0.

    Raises:
        ModelError: The adapter has a part that cannot be merged.
    """
    model = cast(PreTrainedModel, study.loaded.model)

    def make(folder: Path) -> None:
        last = max(checkpoint_folders(tuned, number).items())[1]
        merged = _tensors(study, last)
        home = folder / f"merged/seed-{number}"
        with as_it_was(model), no_bars():
            model.save_pretrained(home, state_dict=merged, max_shard_size=LARGEST_FILE)
        if model.can_generate() and model.generation_config is not None:
            model.generation_config.to_json_file(home / _GENERATION_FILE)
        study.loaded.tokenizer.save_pretrained(home)

    identity = study.loaded.identity
    inputs = {"model": identity.sha256, "dtype": identity.dtype, "tuned": tuned.key}
    return study.run.step(f"merge-seed-{number}", inputs, make)


def _tensors(study: Study, folder: Path) -> dict[str, Tensor]:
    """All tensors of the tuned model, by name."""
    base, whole = cast(PreTrainedModel, study.loaded.model), whole_model(folder)
    if whole is not None:
        return load_weights(whole, like=base).state_dict()
    merge = merged_masked_tensors if is_masked(folder) else merged_tensors
    return merge(base, study.loaded.layout.sites, folder)


@contextmanager
def as_it_was(model: PreTrainedModel) -> Iterator[None]:
    """Undo what saving writes into the model's configuration.

    Generation settings that contradict each other, as some published ones do, load
    with a warning but are refused when saved; they are written as they are instead.
    """
    config, generation = model.config, model.generation_config
    before = {name: getattr(config, name) for name in ("dtype", "architectures")}
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = generation
        for name, value in before.items():
            setattr(config, name, value)
