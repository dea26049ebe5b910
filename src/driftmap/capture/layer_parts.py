"""In which part of a model is each parameter used: before, in or after its blocks?"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from driftmap.capture.layer_blocks import Blocks
from driftmap.core.errors import MeasureError
from driftmap.families.modules import base_model
from driftmap.families.tensors import TensorRule
from driftmap.signals.batch import Batch

ENTRY = -1
"""The part before the blocks; the part after them has the number of blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParts:
    """What is known of a model before its layers are taken one by one.

    Args:
        rules: Rules by the part that shows them, the parts in order.
        late: Names of parameters used after the blocks and before them as well, as a
            tied embedding is; the part before shows them.
        width: Units of a hidden state between blocks.
        dtype: Its type.
    """

    rules: Mapping[int, tuple[TensorRule, ...]]
    late: frozenset[str]
    width: int
    dtype: torch.dtype


def model_parts(
    model: nn.Module, rules: Sequence[TensorRule], blocks: Blocks, batch: Batch
) -> ModelParts:
    """Run a few samples and see where each parameter's users run.

    Args:
        model: The model that the rules were found in.
        rules: None of kind `other`.
        blocks: Its blocks.
        batch: A few samples.

    Raises:
        MeasureError: A parameter is used in several layers.
    """
    hidden: list[Tensor] = []
    where = _run(model, rules, blocks, batch, hidden)
    found: dict[int, list[TensorRule]] = {}
    late: set[str] = set()
    for rule in rules:
        parts = {part for use in rule.uses for part in where.get(use.path, ())}
        if parts == {ENTRY, blocks.number}:
            late.add(rule.name)
            parts = {ENTRY}
        if len(parts) > 1:
            named = ", ".join(str(part) for part in sorted(parts))
            raise MeasureError(
                f"{rule.name}: several layers ({named}) use it, so layers cannot be "
                "taken one by one; take them in one pass"
            )
        if not parts:
            raise MeasureError(
                f"{rule.name}: the model never used this parameter; leave it out"
            )
        found.setdefault(min(parts), []).append(rule)
    return ModelParts(
        rules={part: tuple(found[part]) for part in sorted(found)},
        late=frozenset(late),
        width=hidden[0].shape[-1],
        dtype=hidden[0].dtype,
    )


def _run(
    model: nn.Module,
    rules: Sequence[TensorRule],
    blocks: Blocks,
    batch: Batch,
    hidden: list[Tensor],
) -> Mapping[str, set[int]]:
    """Parts in which each user runs, by its path."""
    found: dict[str, set[int]] = {}
    here = [ENTRY]
    paths = dict.fromkeys(use.path for rule in rules for use in rule.uses)
    with (
        _noting(base_model(model), paths, here, found),
        blocks.patched(),
        torch.no_grad(),
    ):
        blocks.whole(batch, partial(_enter, here, hidden))
    return found


@contextmanager
def _noting(
    base: nn.Module,
    paths: Iterable[str],
    here: Sequence[int],
    found: dict[str, set[int]],
) -> Iterator[None]:
    handles = []
    try:
        for path in paths:
            note = partial(_note, here, found.setdefault(path, set()))
            handles.append(base.get_submodule(path).register_forward_pre_hook(note))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _enter(here: list[int], hidden: list[Tensor], part: int, entered: Tensor) -> None:
    here[0] = part
    hidden.append(entered)


def _note(here: Sequence[int], parts: set[int], *_: object) -> None:
    parts.add(here[0])
