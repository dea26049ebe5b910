"""How is a tuned model written as one folder that loads without an adapter?"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from transformers import GenerationConfig, PreTrainedModel

from driftmap.load.merged import merged_tensors
from driftmap.load.quiet import no_bars
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.training import checkpoint_folders
from driftmap.store.steps import StepOutcome

LARGEST_FILE = "5GB"
"""Weights beyond this go into further files."""

_GENERATION_FILE = "generation_config.json"


def merge_step(study: Study, tuned: StepOutcome, number: int) -> StepOutcome:
    """Write `merged/seed-K/`: the model with the last adapter of a run merged in.

    The folder holds safetensors weights in the study's number type, configuration
    and tokenizer, and loads with `from_pretrained`. The study's model is only read;
    memory is needed for one more copy of the tuned matrices.

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
        merged = merged_tensors(model, study.loaded.layout.sites, last)
        home = folder / f"merged/seed-{number}"
        with as_it_was(model), no_bars():
            model.save_pretrained(home, state_dict=merged, max_shard_size=LARGEST_FILE)
        if model.can_generate() and model.generation_config is not None:
            model.generation_config.to_json_file(home / _GENERATION_FILE)
        study.loaded.tokenizer.save_pretrained(home)

    identity = study.loaded.identity
    inputs = {"model": identity.sha256, "dtype": identity.dtype, "tuned": tuned.key}
    return study.run.step(f"merge-seed-{number}", inputs, make)


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
