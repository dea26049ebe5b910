"""What had training added at a checkpoint, whichever kind of checkpoint it is?

A folder of a training run holds an adapter, one that leaves frozen weights alone, a
whole model, or a card that says where
a whole model lies which was trained elsewhere and is too large to be copied.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.load.adapters import read_adapter
from driftmap.load.attach import attach_adapter
from driftmap.load.checkpoint import find_folder
from driftmap.load.expert_files import file_places
from driftmap.load.full_changes import (
    FullChanges,
    JoinedChanges,
    StoredMatrices,
    half_types,
    moved_sites,
)
from driftmap.load.masked_adapters import (
    attach_masked_adapter,
    is_masked,
    read_masked_adapter,
)
from driftmap.load.model import LoadedModel
from driftmap.load.training_runs import CONFIG
from driftmap.load.whole_model import load_weights
from driftmap.recipes.steps.bench import Study
from driftmap.signals.changes import DoraFactors, MatrixChange
from driftmap.signals.factors import LoraFactors
from driftmap.store.plain import load_json

WHOLE_CARD, WHOLE_KIND = "whole_model.json", "whole_model"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckpointChanges:
    """What training had added at one checkpoint.

    Args:
        by_site: Per tuned matrix; whole matrices are read when they are asked for.
        half_types: 16-bit number types in which whole matrices were saved.
        num_whole: Matrices that were saved whole.
        num_dora: Matrices tuned with DoRA.
        num_open: Those of them whose lengths before training were not kept.
    """

    by_site: Mapping[Site, MatrixChange]
    half_types: tuple[str, ...] = ()
    num_whole: int = 0
    num_dora: int = 0
    num_open: int = 0


def changes_at(
    study: Study, folders: Mapping[int, Path], step: int
) -> CheckpointChanges:
    """Read what a training run had added to every matrix at one of its steps.

    Args:
        study: The model under study.
        folders: The run's checkpoints by step, as `checkpoint_folders` gives them.
        step: One of them.

    Raises:
        ModelError: A checkpoint is broken or of another model.
    """
    if whole_model(folders[step]) is None:
        return _of_adapter(study, folders[step], folders.get(0))
    before, last = base_matrices(study), whole_model(folders[max(folders)])
    assert last is not None, "checkpoints of one run are of one kind"
    places = before.places
    last_matrices = StoredMatrices(last, places)
    tuned = moved_sites(before, last_matrices, study.loaded.layout.sites)
    after = StoredMatrices(whole_model(folders[step]) or last, places)
    return CheckpointChanges(
        by_site=FullChanges(before, after, tuned),
        half_types=half_types(after, tuned),
        num_whole=len(tuned),
    )


def _of_adapter(study: Study, folder: Path, begun: Path | None) -> CheckpointChanges:
    sites = study.loaded.layout.sites
    if is_masked(folder):
        return CheckpointChanges(by_site=read_masked_adapter(folder, sites))
    adapter = read_adapter(folder, sites, reference=begun)
    dora = [c for c in adapter.factors.values() if isinstance(c, DoraFactors)]
    num_open = sum(change.start is None for change in dora)
    if not adapter.whole:
        return CheckpointChanges(
            by_site=adapter.factors, num_dora=len(dora), num_open=num_open
        )
    after = StoredMatrices(folder)
    whole = FullChanges(base_matrices(study), after, tuple(adapter.whole))
    return CheckpointChanges(
        by_site=JoinedChanges(adapter.factors, whole, sites),
        half_types=half_types(after, tuple(whole)),
        num_whole=len(whole),
        num_dora=len(dora),
        num_open=num_open,
    )


def nothing_moved(changes: Mapping[Site, MatrixChange]) -> Mapping[Site, LoraFactors]:
    """The same matrices before training: a change that is zero in all of them."""
    return {
        site: LoraFactors(
            down=torch.zeros(1, site.num_columns, dtype=torch.float64),
            up=torch.zeros(site.num_rows, 1, dtype=torch.float64),
            scale=1.0,
        )
        for site in changes
    }


def base_matrices(study: Study) -> StoredMatrices:
    """The files of the model before tuning."""
    loaded = study.loaded
    places = file_places(loaded.model, loaded.layout.banks, loaded.layout.sites)
    return StoredMatrices(find_folder(loaded.identity.source), places)


def whole_model(folder: Path) -> Path | None:
    """Where the whole model of a checkpoint lies; None where it is an adapter.

    Raises:
        ModelError: The card of a model that was trained elsewhere names no folder.
    """
    card = folder / WHOLE_CARD
    if card.is_file():
        named = Path(str(load_json(card, WHOLE_KIND)["folder"]))
        if not named.is_dir():
            raise ModelError(
                f"{named}: the whole model of a checkpoint is no longer there; put it "
                "back, or give --checkpoints where it is now"
            )
        return named
    return None if (folder / CONFIG).is_file() or is_masked(folder) else folder


@contextmanager
def tuned_model(
    loaded: LoadedModel, folder: Path
) -> Iterator[PreTrainedModel | PeftModel]:
    """The model as it was at a checkpoint, for as long as the block runs.

    Args:
        loaded: The model before tuning. An adapter is put on it and taken off; a
            whole model is loaded beside it.
        folder: The checkpoint.
    """
    base = cast(PreTrainedModel, loaded.model)
    whole = whole_model(folder)
    if whole is not None:
        yield load_weights(whole, like=base)
        return
    attach = attach_masked_adapter if is_masked(folder) else attach_adapter
    wrapped = attach(
        base,
        folder,
        base_name=loaded.identity.source,
        base_sha256=loaded.identity.base_sha256,
    )
    try:
        yield wrapped
    finally:
        wrapped.unload()
        base.__dict__.pop("peft_config", None)
