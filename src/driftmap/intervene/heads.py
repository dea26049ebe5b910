"""What happens to a model without some attention heads?

A head's output z reaches the rest of the model through its own columns of `o` alone.
Zero columns are the same as z = 0. Putting a mean in place of z keeps what the head
says on average and takes away what it says of this text.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from driftmap.core.places import Site
from driftmap.families.discover import find_layout
from driftmap.families.matrices import site_module
from driftmap.intervene.regions import head_regions
from driftmap.intervene.weights import zero
from driftmap.results.heads import Head


def zero_heads(model: nn.Module, heads: Iterable[Head]) -> AbstractContextManager[None]:
    """Take heads away: zero their columns of `o`.

    Args:
        model: With or without PEFT adapters.
        heads: Query heads; others of the same key-value head stay.

    Raises:
        MeasureError: The model has no such head.
    """
    return zero(model, head_regions(find_layout(model).sites, heads))


@contextmanager
def mean_heads(
    model: nn.Module,
    heads: Iterable[Head],
    means: Mapping[Site, Float[Tensor, " _"]],
) -> Iterator[None]:
    """Put a mean in place of what heads say; no weight is touched.

    Args:
        model: With or without PEFT adapters.
        heads: Query heads.
        means: Mean input of the matrix `o` of their layers, from `InputMeans`.

    Raises:
        MeasureError: The model has no such head.
    """
    regions = head_regions(find_layout(model).sites, heads)
    with ExitStack() as hooks:
        for site, region in regions.items():
            put = partial(_put, list(region.columns), means[site])
            module = site_module(model, site)
            handle = module.register_forward_pre_hook(put, with_kwargs=True)
            hooks.callback(handle.remove)
        yield


def _put(
    columns: list[int],
    means: Tensor,
    module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if args:
        return (_with_means(args[0], columns, means), *args[1:]), kwargs
    name = next(iter(kwargs))
    return args, {**kwargs, name: _with_means(kwargs[name], columns, means)}


def _with_means(inputs: Tensor, columns: list[int], means: Tensor) -> Tensor:
    place = torch.tensor(columns, device=inputs.device)
    values = means.to(inputs.device)[place].to(inputs.dtype)
    return inputs.index_copy(-1, place, values.expand(*inputs.shape[:-1], -1))
