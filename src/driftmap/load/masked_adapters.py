"""What does an adapter add whose frozen entries it does not touch?

`masked_adapter.safetensors` holds plain factors and, per module, the entries at which
they do not count. Everything that plain adapters are checked for holds here too: they
are read as such from a folder that lasts as long as the reading.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import PreTrainedModel

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.families.masked import Entries, mask_adapter, site_entries
from driftmap.load.adapters import read_adapter
from driftmap.load.attach import attach_adapter
from driftmap.load.merged import merged_tensors, plain_state
from driftmap.results.freezing import FROZEN_PREFIX, MASKED_CONFIG, MASKED_WEIGHTS
from driftmap.signals.changes import MaskedFactors, MatrixChange
from driftmap.signals.factors import LoraFactors

ADAPTER = "default"


def is_masked(folder: Path) -> bool:
    """Whether a folder holds an adapter with frozen entries."""
    return (folder / MASKED_WEIGHTS).is_file()


def read_masked_adapter(
    folder: Path, sites: Sequence[Site]
) -> Mapping[Site, MatrixChange]:
    """Read what a masked adapter adds to each tuned matrix.

    Args:
        folder: The checkpoint.
        sites: All scored matrices of the model.

    Returns:
        Per tuned site its factors, with the entries at which they do not count.

    Raises:
        ModelError: The folder is damaged, or the adapter is of another model.
    """
    with _plain(folder) as (plain, entries):
        found: dict[Site, MatrixChange] = dict(read_adapter(plain, sites).factors)
    for site, change in found.items():
        if site.path in entries:
            assert isinstance(change, LoraFactors), site.key
            frozen = site_entries(entries[site.path], site)
            found[site] = MaskedFactors(factors=change, frozen=frozen)
    return found


def attach_masked_adapter(
    model: PreTrainedModel, folder: Path, *, base_name: str, base_sha256: str
) -> PeftModel:
    """Put a masked adapter on a model, for inference.

    Args:
        model: The base, already loaded.
        folder: The checkpoint.
        base_name: Folder or hub id that the base was loaded from.
        base_sha256: Hash of the base's weights.

    Returns:
        The wrapped model; `model` itself is changed, until `unload`.

    Raises:
        ModelError: The folder is damaged, or the adapter is of another model.
    """
    with _plain(folder) as (plain, entries):
        wrapped = attach_adapter(
            model, plain, base_name=base_name, base_sha256=base_sha256
        )
    base = wrapped.get_base_model()
    for path, index in entries.items():
        mask_adapter(base.get_submodule(path), ADAPTER, index)
    return wrapped


def merged_masked_tensors(
    model: nn.Module, sites: Sequence[Site], folder: Path
) -> dict[str, Tensor]:
    """Merge a masked adapter: `where(M, W, W + dW)`, since `(W + d) - d` is not W.

    Args:
        model: The base, without an adapter; it stays as it is.
        sites: All matrices of its layout.
        folder: The checkpoint.

    Returns:
        As `model.state_dict()`, with new tensors where the adapter changes one.

    Raises:
        ModelError: As `merged_tensors`.
    """
    before = plain_state(model, sites)
    turned = {site.path for site in sites if site.transposed}
    with _plain(folder) as (plain, entries):
        merged = merged_tensors(model, sites, plain)
    for path, index in entries.items():
        name = f"{path}.weight"
        now, then = merged[name], before[name].detach().cpu()
        if path in turned:
            now, then = now.T, then.T
        rows, columns = np.divmod(index, now.shape[1])
        now[rows, columns] = then[rows, columns]
    return merged


@contextmanager
def _plain(folder: Path) -> Iterator[tuple[Path, Mapping[str, Entries]]]:
    """The factors as a plain adapter, and beside them what they must not touch."""
    try:
        tensors = load_file(folder / MASKED_WEIGHTS)
        settings = json.loads((folder / MASKED_CONFIG).read_text(encoding="utf-8"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{folder}: its masked adapter is damaged; copy the folder again, or tune "
            "again"
        ) from error
    frozen = {
        name.removeprefix(FROZEN_PREFIX): tensors.pop(name).numpy()
        for name in list(tensors)
        if name.startswith(FROZEN_PREFIX)
    }
    with tempfile.TemporaryDirectory(prefix="driftmap-plain-") as made:
        plain = Path(made) / folder.name
        plain.mkdir()
        (plain / "adapter_config.json").write_text(json.dumps(settings))
        save_file(tensors, plain / "adapter_model.safetensors")
        yield plain, frozen
