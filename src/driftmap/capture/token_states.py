"""What does each block give at some tokens of a text?

Block outputs, before any final norm. A causal model's state at a token does not depend
on what follows, so one forward pass gives what others run one pass per prefix for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor, nn

from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.capture.losses import logits_at
from driftmap.core.errors import MeasureError
from driftmap.core.progress import progress
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model
from driftmap.signals.batch import Batch

_Found = dict[int, Float32[np.ndarray, "_ _"]]
"""States of one sample, by the place of the layer among those wanted."""


def num_blocks(model: nn.Module) -> int:
    """How many blocks a model has."""
    return len(find_layout(model).blocks)


def token_states(
    model: nn.Module, batches: Sequence[Batch], layers: Sequence[int]
) -> tuple[Float32[np.ndarray, "place layer width"], ...]:
    """Read block outputs at the observed tokens of every sample.

    Args:
        model: A decoder-only language model, with or without adapters; left as it was
            found, also after an error.
        batches: All samples; `observed` says where they are read.
        layers: Numbers of blocks, in the order wanted.

    Returns:
        One array per sample, by `sample_index`; its places are the observed tokens in
        their order.

    Raises:
        MeasureError: The model has no such block, a block never ran, or a state is not
            finite.
    """
    paths = find_layout(model).blocks
    wrong = [layer for layer in layers if not 0 <= layer < len(paths)]
    if wrong or not layers:
        raise MeasureError(
            f"layer {wrong[0] if wrong else 'list'}: the model has layers 0 to "
            f"{len(paths) - 1}; name some of them"
        )
    num_samples = sum(len(batch.sample_ids) for batch in batches)
    read: list[_Found] = [{} for _ in range(num_samples)]

    def keep(place: int, batch: Batch, states: Tensor) -> None:
        _keep(read, (place, paths[layers[place]]), batch, states.float())

    with (
        torch.no_grad(),
        evaluating(model),
        one_attention_kernel(model),
        progress("texts", num_samples) as bar,
    ):
        for batch in batches:
            with _reading(model, [paths[layer] for layer in layers], batch, keep):
                last = batch.real.shape[1] - 1
                logits_at(model, batch, torch.tensor([last], device=batch.real.device))
            bar.advance(len(batch.sample_ids))
    for found in read:
        for place, layer in enumerate(layers):
            if place not in found:
                raise MeasureError(f"{paths[layer]}: the model never called this block")
    return tuple(
        np.stack([found[place] for place in range(len(layers))], axis=1)
        for found in read
    )


def _keep(
    read: list[_Found], where: tuple[int, str], batch: Batch, states: Tensor
) -> None:
    """Keep one block's states at the observed tokens of a batch."""
    place, path = where
    for row, sample in enumerate(batch.sample_index):
        found = states[row, batch.observed[row].to(states.device)]
        if not bool(torch.isfinite(found).all()):
            raise MeasureError(
                f"{path}: the output for sample {batch.sample_ids[row]} is not finite; "
                "are the weights damaged, or is the dtype too narrow?"
            )
        read[sample][place] = found.cpu().numpy()


@contextmanager
def _reading(
    model: nn.Module,
    paths: Sequence[str],
    batch: Batch,
    keep: Callable[[int, Batch, Tensor], None],
) -> Iterator[None]:
    """Hand on the output of every block for as long as the block of code runs."""
    base = base_model(model)
    with ExitStack() as hooks:
        for place, path in enumerate(paths):

            def read(
                _module: nn.Module, _inputs: object, output: object, place: int = place
            ) -> None:
                states = output[0] if isinstance(output, tuple) else output
                assert isinstance(states, Tensor), type(_module)
                keep(place, batch, states.reshape(*batch.real.shape, -1))

            handle = base.get_submodule(path).register_forward_hook(read)
            hooks.callback(handle.remove)
        yield
