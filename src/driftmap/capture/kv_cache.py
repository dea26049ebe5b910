"""Which keys and values does a model keep of a text?

They are read from the cache that the model itself fills: keys after rotary position
embedding and norms, where it has them, and as many heads as are stored, which under
grouped queries is fewer than look at them. A layer with a sliding window keeps the last
tokens alone; layers without keys (linear attention) are left out.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache

from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.core.errors import MeasureError
from driftmap.families.modules import base_model


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CachedStates:
    """What the cache holds of one text.

    Args:
        layers: Numbers of the layers that hold keys and values.
        keys: By layer; the tokens are the last ones of the text.
        values: Likewise.
        num_bytes: Of all of them.
    """

    layers: tuple[int, ...]
    keys: tuple[Float[Tensor, "_ _ _"], ...]
    values: tuple[Float[Tensor, "_ _ _"], ...]
    num_bytes: int


def cached_states(
    model: nn.Module, token_ids: Int[np.ndarray, " token"]
) -> CachedStates:
    """Read a text once, and take what the cache holds.

    Args:
        model: A causal language model; left as it was found.
        token_ids: The text.

    Returns:
        Keys and values `[head token width]` in the model's own dtype, on the CPU.

    Raises:
        MeasureError: The model gives no such cache, or a state is NaN or infinite.
    """
    device = next(base_model(model).parameters()).device
    ids = torch.from_numpy(token_ids.astype(np.int64))[None].to(device)
    with torch.no_grad(), evaluating(model), one_attention_kernel(model):
        held = model(input_ids=ids, use_cache=True).past_key_values
    layers = list(held.layers) if isinstance(held, Cache) else []
    found = {
        number: pair
        for number, layer in enumerate(layers)
        if (pair := _pair(layer)) is not None
    }
    if not found:
        raise MeasureError(
            f"{type(base_model(model)).__name__} gives no cache of keys and values; "
            "its states can be compared block by block alone"
        )
    for number, pair in found.items():
        if not all(bool(state.isfinite().all()) for state in pair):
            raise MeasureError(
                f"layer {number}: a key or value is NaN or infinite; are the model's "
                "weights finite?"
            )
    return CachedStates(
        layers=tuple(found),
        keys=tuple(keys for keys, _ in found.values()),
        values=tuple(values for _, values in found.values()),
        num_bytes=sum(
            state.numel() * state.element_size()
            for pair in found.values()
            for state in pair
        ),
    )


def _pair(layer: object) -> tuple[Tensor, Tensor] | None:
    """Keys and values of a layer; None where it holds none."""
    keys, values = getattr(layer, "keys", None), getattr(layer, "values", None)
    for state in (keys, values):
        if not (isinstance(state, Tensor) and state.ndim == 4 and state.numel()):
            return None
    assert isinstance(keys, Tensor) and isinstance(values, Tensor)  # noqa: PT018
    return keys[0].cpu(), values[0].cpu()
