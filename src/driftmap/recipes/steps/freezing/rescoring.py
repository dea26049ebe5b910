"""Which weights carry the behaviour once the model is tuned?"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from driftmap.load.adapters import read_adapter
from driftmap.load.masked_adapters import is_masked
from driftmap.load.merged import merged_tensors
from driftmap.recipes.freezing_options import FreezePlan
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import ScoringData
from driftmap.recipes.steps.freezing.chosen import load_picked, picked, rechosen
from driftmap.recipes.steps.freezing.overlapping import after_tuning
from driftmap.recipes.steps.freezing.parts import Freezable
from driftmap.recipes.steps.freezing.tuning import Tuned
from driftmap.recipes.steps.tuning.checkpoints import tuned_model, whole_model
from driftmap.results.table import Table
from driftmap.signals.changes import DoraFactors
from driftmap.store.groups import save_group
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table


def rescore_step(
    study: Study,
    data: ScoringData,
    plan: FreezePlan,
    before: tuple[StepOutcome, Freezable],
    tuned: Tuned,
) -> StepOutcome:
    """Take the group of a tuned model as it was taken before, and compare the two.

    Args:
        study: Folder, model and seed.
        data: The samples of the first scoring.
        plan: How weights are scored and chosen.
        before: The step that chose the groups, and what was frozen of them.
        tuned: The training run.
    """
    chosen, freezable = before
    arm = tuned.arm

    def make(folder: Path) -> None:
        with scorable_model(study, tuned.checkpoint) as model:
            identity = replace(study.loaded.identity, sha256=tuned.step.key)
            loaded = replace(study.loaded, model=model, identity=identity)
            scored = replace(study, loaded=loaded)
            after, _ = picked(scored, data, plan)
            group = rechosen(scored, data, plan, after.whole)
        save_group(folder / f"groups/after/{arm.label}.safetensors", group)
        num_half = min(len(data.behaviour), len(data.utility)) // 2
        found = after_tuning(
            load_picked(chosen, plan.freezing.freeze),
            after,
            freezable.of(arm, study.seed),
            num_half,
        )
        names = {"kind": arm.kind, "share": arm.share, "seed": arm.number}
        columns = Table.from_rows([names] * len(found)).columns
        table = Table(columns={**columns, **found.columns})
        save_table(folder / f"tables/overlaps/{arm.label}.parquet", table)

    inputs = {
        "groups": chosen.key,
        "tuned": tuned.step.key,
        "frozen": freezable.controls.key,
    }
    return study.run.step(f"rescore-{arm.label}", inputs, make)


@contextmanager
def scorable_model(study: Study, folder: Path) -> Iterator[nn.Module]:
    """The tuned model, in a form whose weights W + dW can be read.

    Plain and masked adapters stay apart from their base. What DoRA does to a weight
    is no sum, so it is written into the model, which is put back bit by bit.

    Args:
        study: The model before tuning.
        folder: A checkpoint.
    """
    if not _is_dora(study, folder):
        with tuned_model(study.loaded, folder) as model:
            yield model
        return
    model, sites = study.loaded.model, study.loaded.layout.sites
    with _holding(model, merged_tensors(model, sites, folder)):
        yield model


def _is_dora(study: Study, folder: Path) -> bool:
    if whole_model(folder) is not None or is_masked(folder):
        return False
    factors = read_adapter(folder, study.loaded.layout.sites).factors
    return any(isinstance(change, DoraFactors) for change in factors.values())


@contextmanager
def _holding(model: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Have other values in a model's parameters for as long as the block runs."""
    own = dict(cast(PreTrainedModel, model).named_parameters())
    before: dict[str, Tensor] = {}
    try:
        with torch.no_grad():
            for name, parameter in own.items():
                if tensors[name].data_ptr() != parameter.data_ptr():
                    before[name] = parameter.detach().clone()
                    parameter.copy_(tensors[name])
        yield
    finally:
        with torch.no_grad():
            for name, values in before.items():
                own[name].copy_(values)
