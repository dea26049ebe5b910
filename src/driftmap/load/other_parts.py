"""What else did full fine-tuning change, beside the matrices that groups live in?

Embeddings, norms, biases and the head hold no weight of a group, but count in what the
model does: they are compared, named and left out.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from safetensors import safe_open
from torch import Tensor

from driftmap.core.places import Site
from driftmap.load.full_changes import BLOCK_WEIGHTS, StoredMatrices
from driftmap.load.tensor_files import StoredTensor

Found = Literal["changed", "resized", "missing"]

_HEADS = ("lm_head.weight", "embed_out.weight")
_EMBEDDINGS = ("embed_tokens.weight", "embed_in.weight", "wte.weight")
_BUFFERS = (".inv_freq", ".masked_bias", ".attn.bias", ".attention.bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherPart:
    """A tensor outside the scored matrices that is not what it was.

    Args:
        name: Its name in the checkpoint.
        found: Whether it differs, has other rows, or is in one of the folders alone.
        num_rows: Rows before and after.
        common_differ: Whether the rows differ that both folders have.
    """

    name: str
    found: Found
    num_rows: tuple[int, int] = (0, 0)
    common_differ: bool = False

    def __str__(self) -> str:
        """The part and what is the matter with it, for a message."""
        if self.found == "missing":
            return f"{self.name} (in one of the folders alone)"
        if self.found == "resized":
            before, after = self.num_rows
            differ = "differ" if self.common_differ else "are the same"
            return (
                f"{self.name} ({before} rows before, {after} after; the "
                f"{min(self.num_rows)} common ones {differ})"
            )
        return self.name


def other_parts(
    before: StoredMatrices, after: StoredMatrices, sites: Sequence[Site]
) -> tuple[OtherPart, ...]:
    """Name what differs outside the scored matrices, in name order.

    A head that one folder leaves out is tied to the embedding there, and compared
    with it: tensors count, not names.

    Args:
        before: The model before training.
        after: A checkpoint of full fine-tuning.
        sites: All scored matrices of the model.
    """
    scored = {stored.tensor_of(s).name for stored in (before, after) for s in sites}
    names = sorted((before.tensors.keys() | after.tensors.keys()) - scored)
    found = (
        _compared(name, tensor_or_tied(before, name), tensor_or_tied(after, name))
        for name in names
        if not is_buffer(name)
    )
    return tuple(part for part in found if part is not None)


def is_buffer(name: str) -> bool:
    """Whether a tensor is computed and not trained, such as a mask."""
    return name.endswith(_BUFFERS)


def tensor_or_tied(stored: StoredMatrices, name: str) -> StoredTensor | None:
    """The stored tensor of a name; of a head that is left out the tied embedding."""
    if name in stored.tensors or not name.endswith(_HEADS):
        return stored.tensors.get(name)
    tied = [t for other, t in stored.tensors.items() if other.endswith(_EMBEDDINGS)]
    return tied[0] if len(tied) == 1 else None


def _compared(
    name: str, old: StoredTensor | None, new: StoredTensor | None
) -> OtherPart | None:
    if old is None or new is None or old.shape[1:] != new.shape[1:]:
        return OtherPart(name=name, found="missing")
    rows = (old.shape or (1,))[0], (new.shape or (1,))[0]
    pairs = zip(_blocks(old, min(rows)), _blocks(new, min(rows)), strict=True)
    differ = not all(torch.equal(one.double(), other.double()) for one, other in pairs)
    if not differ and rows[0] == rows[1]:
        return None
    return OtherPart(
        name=name,
        found="changed" if rows[0] == rows[1] else "resized",
        num_rows=rows,
        common_differ=differ,
    )


def _blocks(stored: StoredTensor, num_rows: int) -> Iterator[Tensor]:
    with safe_open(stored.file, framework="pt") as opened:
        if not stored.shape:
            yield opened.get_tensor(stored.name)
            return
        part = opened.get_slice(stored.name)
        width = max(1, torch.Size(stored.shape[1:]).numel())
        step = max(1, BLOCK_WEIGHTS // width)
        for first in range(0, num_rows, step):
            yield part[first : min(first + step, num_rows)]
