"""What sets the weights of two models apart, as a step of a run?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.families.matrices import site_weight
from driftmap.load.adapters import read_adapter
from driftmap.load.full_changes import StoredMatrices
from driftmap.load.masked_adapters import is_masked
from driftmap.load.other_changes import adapter_changes, other_changes
from driftmap.load.other_parts import is_buffer
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.weights.grouping import (
    found_groups,
    group_inputs,
    groups_moved,
)
from driftmap.recipes.steps.comparing.weights.measuring import measured
from driftmap.recipes.steps.inference.cautioning import ChangeCount, read_cautions
from driftmap.recipes.steps.tuning.checkpoints import (
    CheckpointChanges,
    base_matrices,
    changes_at,
    whole_model,
)
from driftmap.results.weight_changes import OtherTensor, WeightChanges
from driftmap.signals.changes import DenseChange
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

WEIGHTS = "weights"
WEIGHTS_KIND = "weight-changes"


def weights_step(pair: Pair, groups: Sequence[Path] = ()) -> StepOutcome:
    """Measure what moved between two models, and keep it.

    Args:
        pair: The two models; the last checkpoint of what was made of the base counts.
        groups: Group files, folders of them, or runs that hold some.

    Raises:
        ModelError: The checkpoint is broken or of another model.
        StoreError: There is no group in what was given, or a file is damaged.
        DataError: A group is empty or of another model, or two have one name.
    """
    found = found_groups(groups)

    def make(folder: Path) -> None:
        changes = changes_at(pair.study, pair.run.checkpoints, pair.run.last_step)
        all_of_it = _weight_changes(pair, changes)
        ratios = groups_moved(pair.study, found, changes.by_site)
        save_apart(folder, WEIGHTS, replace(all_of_it, groups=ratios), WEIGHTS_KIND)

    inputs = {
        **pair.inputs,
        "groups": group_inputs(found),
        "seed": pair.study.seed if found else None,
    }
    return pair.study.run.step(WEIGHTS, inputs, make)


def read_weights(run: RunDir) -> WeightChanges | None:
    """Read what the step kept; None where the run has no such step.

    Raises:
        StoreError: A file is damaged.
    """
    if not run.is_finished(WEIGHTS):
        return None
    return load_apart(run.path, WEIGHTS, WeightChanges, WEIGHTS_KIND)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tensors:
    """Tensors of the base, and which of them differ; all 0 where it is not known."""

    num_tensors: int = 0
    num_equal: int = 0
    num_weights: int = 0
    num_open: int = 0


def _weight_changes(pair: Pair, changes: CheckpointChanges) -> WeightChanges:
    layout = pair.base.layout
    weight_of = partial(site_weight, pair.base.model)
    found = measured(layout.sites, changes.by_site, weight_of, layout.banks)
    before = base_matrices(pair.study)
    others = _others(pair, before)
    moved = {matrix.key for matrix in found.matrices}
    sites = [site for site in layout.sites if site.key in moved]
    tensors = _tensors(before, sites, others)
    return WeightChanges(
        is_adapter=whole_model(pair.run.last) is None,
        num_tensors=tensors.num_tensors,
        num_equal=tensors.num_equal,
        num_weights=tensors.num_weights,
        num_open=tensors.num_open,
        cells=found.cells,
        matrices=found.matrices,
        others=others,
        banks=found.banks,
        groups=(),
        cautions=_cautions(pair, changes, sites),
    )


def _others(pair: Pair, before: StoredMatrices) -> tuple[OtherTensor, ...]:
    folder, sites = pair.run.last, pair.base.layout.sites
    whole = whole_model(folder)
    if whole is not None:
        return other_changes(before, StoredMatrices(whole, before.places), sites)
    if is_masked(folder):
        return ()
    begun = pair.run.checkpoints.get(0)
    names = read_adapter(folder, sites, reference=begun).other_parts
    return adapter_changes(before, folder, names)


def _tensors(
    before: StoredMatrices, moved: Sequence[Site], others: Sequence[OtherTensor]
) -> _Tensors:
    sizes = {
        name: torch.Size(stored.shape).numel()
        for name, stored in before.tensors.items()
        if not is_buffer(name)
    }
    try:
        names = {before.tensor_of(site).name for site in moved}
    except ModelError:  # the base is stored in a type that no matrix is read from
        return _Tensors()
    for other in others:
        stored = before.tensors.get(other.name) or before.alike(other.name)
        names |= {stored.name} if stored is not None else set()
    return _Tensors(
        num_tensors=len(sizes),
        num_equal=len(sizes.keys() - names),
        num_weights=sum(sizes.values()),
        num_open=sum(sizes.get(name, 0) for name in names),
    )


def _cautions(
    pair: Pair, changes: CheckpointChanges, moved: Sequence[Site]
) -> tuple[str, ...]:
    """What has to be known of how changes were read."""
    counted = ChangeCount()
    if changes.half_types:
        for site in moved:
            change = changes.by_site[site]
            if isinstance(change, DenseChange):
                weight = site_weight(pair.base.model, site).detach().cpu().double()
                counted.add(np.abs(weight.numpy()), np.abs(change.values.numpy()))
    found = read_cautions(pair.study, [changes], counted)
    return tuple(caution.sentence for caution in found)
