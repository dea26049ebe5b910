"""How is a changed model written as a folder that says what was done to it?"""

from pathlib import Path
from typing import cast

from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

import driftmap
from driftmap.core.errors import UsageError
from driftmap.core.progress import say
from driftmap.families.modules import base_model
from driftmap.intervene.editing import adapters_taken_in
from driftmap.load.quiet import no_bars
from driftmap.recipes.steps.ablating.arms import Treatment
from driftmap.recipes.steps.ablating.beforehand import NOTE, NOTE_KIND, saved_note
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.tuning.merging import LARGEST_FILE, as_it_was
from driftmap.results.plain import to_plain
from driftmap.store.plain import save_json

_ADAPTER = ".base_layer."


def save_changed(
    study: Study, treatment: Treatment, by: str, dose: float, folder: Path
) -> None:
    """Write the model with a treatment's group at one dose, unless it is there.

    Args:
        study: The model, and the run it is a result of.
        treatment: Whose group is taken.
        by: What is done to it.
        dose: How much of it.
        folder: Where the model goes.
    """
    note = _provenance(study, treatment, by, dose)
    found = saved_note(folder)
    if found is not None:
        if found.get("change") == note["change"]:
            return
        raise UsageError(
            f"--save {folder}: holds a model that was changed in another way; name "
            "another folder"
        )
    model, loaded = study.loaded.model, study.loaded
    own = cast(PreTrainedModel, base_model(model))
    change = treatment.arms[0].change(dose)
    with (
        adapters_taken_in(model, loaded.layout.sites),
        change.made(model),
        as_it_was(own),
        no_bars(),
    ):
        own.save_pretrained(
            folder, state_dict=_state(model), max_shard_size=LARGEST_FILE
        )
    if own.can_generate() and own.generation_config is not None:
        own.generation_config.to_json_file(folder / "generation_config.json")
    loaded.tokenizer.save_pretrained(folder)
    save_json(folder / NOTE, note, NOTE_KIND)
    say(f"the changed model is in {folder}")


def _provenance(
    study: Study, treatment: Treatment, by: str, dose: float
) -> dict[str, object]:
    identity = study.loaded.identity
    change = {
        "by": by,
        "dose": dose,
        "of": to_plain(treatment.about),
        "depends_on": to_plain(dict(treatment.inputs)),
        "model_sha256": identity.sha256,
        "base_sha256": identity.base_sha256,
        "seed": study.seed,
    }
    return {
        "change": change,
        "model": identity.source,
        "run": str(study.run.path),
        "driftmap": driftmap.__version__,
    }


def _state(model: object) -> dict[str, Tensor] | None:
    """Tensors by the names they have without an adapter; None where there is none."""
    if not isinstance(model, PeftModel):
        return None
    state = cast(PreTrainedModel, model.get_base_model()).state_dict()
    return {
        name.replace(_ADAPTER, "."): tensor
        for name, tensor in state.items()
        if ".lora_" not in name
    }
