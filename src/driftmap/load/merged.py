"""Which tensors does a model hold once an adapter is merged into it?

The model itself is only read: what the adapter changes is new, the rest is the
model's own memory.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from driftmap.core.errors import ModelError
from driftmap.core.places import Site
from driftmap.load.adapters import read_adapter
from driftmap.signals.factors import LoraFactors

ROWS_AT_A_TIME = 512
"""Rows that are summed in float64 at a time, so that little memory is needed."""


def merged_tensors(
    model: nn.Module, sites: Sequence[Site], folder: Path
) -> dict[str, Tensor]:
    """Merge a saved LoRA adapter: every tensor of the model, by name.

    Needs memory for one more copy of the tuned matrices, on the CPU, in the model's
    own number type. Sums are taken in float64 and rounded once.

    Args:
        model: The base, without an adapter; it stays as it is.
        sites: All matrices of its layout.
        folder: The adapter's.

    Returns:
        As `model.state_dict()`, with new tensors where the adapter changes one.

    Raises:
        ModelError: As `read_adapter`; the adapter changes anything but the sites'
            matrices; or a weight is not in memory or quantised.
    """
    state = dict(model.state_dict())
    adapter = read_adapter(folder, sites)
    if adapter.other_parts:
        raise ModelError(
            f"{folder}: `{adapter.other_parts[0]}` cannot be merged here, where only "
            "LoRA of the block's matrices is; leave --merged out, and merge this "
            "adapter with `merge_and_unload` of peft"
        )
    changed: dict[str, Tensor] = {}
    for site, factors in adapter.factors.items():
        name = f"{site.path}.weight"
        if name not in changed:
            changed[name] = _copy(state[name], name)
        matrix = changed[name].T if site.transposed else changed[name]
        _add(matrix, site, factors)
    return state | changed


def _copy(tensor: Tensor, name: str) -> Tensor:
    if tensor.is_meta or not tensor.is_floating_point():
        kind = "not in memory" if tensor.is_meta else f"kept as {tensor.dtype}"
        raise ModelError(
            f"{name}: the weight is {kind}, so nothing can be merged into it; load the "
            "model whole, in float32 or bfloat16"
        )
    return tensor.detach().to("cpu", copy=True)


def _add(matrix: Tensor, site: Site, factors: LoraFactors) -> None:
    """Add `scale * up @ down` to the site's rows of the module's matrix."""
    rows = torch.arange(site.num_rows)
    if site.split is not None:
        rows = torch.tensor(site.split.rows())
    up, down = factors.up.cpu() * factors.scale, factors.down.cpu()
    for start in range(0, site.num_rows, ROWS_AT_A_TIME):
        block = slice(start, start + ROWS_AT_A_TIME)
        summed = matrix[rows[block]].double() + up[block] @ down
        matrix[rows[block]] = summed.to(matrix.dtype)
