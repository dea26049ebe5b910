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
from driftmap.families.quantised import is_four_bit_map, rounded_weight
from driftmap.load.adapters import read_adapter
from driftmap.signals.changes import DoraFactors
from driftmap.signals.factors import LoraFactors

ROWS_AT_A_TIME = 512
"""Rows that are summed in float64 at a time, so that little memory is needed."""


def merged_tensors(
    model: nn.Module, sites: Sequence[Site], folder: Path
) -> dict[str, Tensor]:
    """Merge a saved LoRA or DoRA adapter: every tensor of the model, by name.

    4-bit matrices, tuned or not, come as the rounded weights that the model computes
    with, and are not rounded again.

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
            matrices; or a weight is not in memory or in 8 bits.
    """
    state = plain_state(model, sites)
    adapter = read_adapter(folder, sites)
    if adapter.other_parts:
        raise ModelError(
            f"{folder}: `{adapter.other_parts[0]}` cannot be merged here, where only "
            "the blocks' matrices are; leave --merged out, and merge this "
            "adapter with `merge_and_unload` of peft"
        )
    changed: dict[str, Tensor] = {}
    for site in (*adapter.factors, *adapter.whole):
        name = f"{site.path}.weight"
        if name not in changed:
            changed[name] = _copy(state[name], name)
        matrix = changed[name].T if site.transposed else changed[name]
        if site in adapter.whole:
            matrix[_rows(site)] = adapter.whole[site].to(matrix.dtype)
        else:
            _add(matrix, site, adapter.factors[site])
    return state | changed


def plain_state(model: nn.Module, sites: Sequence[Site]) -> dict[str, Tensor]:
    """Tensors by name, with floating-point ones in place of 4-bit ones."""
    state = dict(model.state_dict())
    for site in sites:
        name = f"{site.path}.weight"
        module = model.get_submodule(site.path)
        packed = [other for other in state if other.startswith(f"{name}.")]
        if is_four_bit_map(module) and packed:
            for other in packed:
                del state[other]
            weight = rounded_weight(module, site.path).cpu()
            state[name] = weight.T.contiguous() if site.transposed else weight
    return state


def _copy(tensor: Tensor, name: str) -> Tensor:
    if tensor.is_meta or not tensor.is_floating_point():
        kind = "not in memory" if tensor.is_meta else f"kept as {tensor.dtype}"
        raise ModelError(
            f"{name}: the weight is {kind}, so nothing can be merged into it; load the "
            "model whole, in float32 or bfloat16"
        )
    return tensor.detach().to("cpu", copy=True)


def _add(matrix: Tensor, site: Site, change: LoraFactors | DoraFactors) -> None:
    """Put `W + V` into the site's rows, `V = scale * up @ down`, or `g (W + V)`."""
    rows, magnitude = _rows(site), None
    factors = change if isinstance(change, LoraFactors) else change.factors
    if isinstance(change, DoraFactors):
        magnitude = change.magnitude.cpu()
    up, down = factors.up.cpu() * factors.scale, factors.down.cpu()
    for start in range(0, site.num_rows, ROWS_AT_A_TIME):
        block = slice(start, start + ROWS_AT_A_TIME)
        summed = matrix[rows[block]].double() + up[block] @ down
        if magnitude is not None:
            lengths = torch.linalg.vector_norm(summed, dim=1)
            summed *= (magnitude[block] / lengths)[:, None]
        matrix[rows[block]] = summed.to(matrix.dtype)


def _rows(site: Site) -> Tensor:
    """Rows of the module's matrix that are the site's."""
    if site.split is None:
        return torch.arange(site.num_rows)
    return torch.tensor(site.split.rows())
