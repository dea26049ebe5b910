"""How do two versions of one model stand beside each other in the room of one?

An adapter is put on a model in place. Put on a twin, it leaves the model itself as it
was: both can be asked, in turn, and what stands for the base is the base, bit for bit.
"""

import copy
from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def twin(model: Model) -> Model:
    """Copy a model's modules, but none of its weights.

    Args:
        model: Without hooks that should not be copied.

    Returns:
        A model whose parameters and buffers lie in the same memory, each under a
        parameter of its own: a module or a weight that is exchanged in one of the two
        stays in the other, while one that is written over changes in both. Weights
        that are tied stay tied.

    >>> import torch
    >>> first = nn.Linear(2, 2)
    >>> second = twin(first)
    >>> second.weight.data = torch.zeros(2, 2)
    >>> bool(first.weight.any()), second.bias.data_ptr() == first.bias.data_ptr()
    (True, True)
    """
    shared: dict[int, object] = {}
    for parameter in model.parameters():
        plain = type(parameter) is nn.Parameter  # packed 4-bit weights are not
        shared[id(parameter)] = (
            nn.Parameter(parameter.detach(), requires_grad=False)
            if plain
            else parameter
        )
    for buffer in model.buffers():
        shared[id(buffer)] = buffer.detach()
    return copy.deepcopy(model, shared)
