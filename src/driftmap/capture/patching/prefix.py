"""How are tokens run after others whose keys and values are known?

Two caches: one that keeps what a whole pass makes, and one that puts some of it before
what a shorter pass makes. The second stores nothing, so it serves any number of cells.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

from driftmap.core.errors import MeasureError


class _Layer(CacheLayerMixin):
    """Keys and values of one layer; sees every token, whatever window it has."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing is set up before it is needed."""

    def get_max_length(self) -> int:
        """There is none."""
        return -1

    def get_seq_length(self) -> int:
        """Tokens before those that come."""
        return 0

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """How many keys there will be, and the number of the first."""
        return self.get_seq_length() + query_length, 0


class _Recording(_Layer):
    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *_: object,
        **__: object,
    ) -> tuple[Tensor, Tensor]:
        """Keep what is new, and hand it on."""
        self.keys, self.values = key_states.detach(), value_states.detach()
        return key_states, value_states


class _Prefixed(_Layer):
    def __init__(self, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self._before = keys, values
        self.is_initialized = True

    def get_seq_length(self) -> int:
        """Tokens before those that come."""
        return self._before[0].shape[-2]

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *_: object,
        **__: object,
    ) -> tuple[Tensor, Tensor]:
        """Put what is known before what is new, once per row, and store nothing."""
        keys, values = self._before
        return _joined(keys, key_states), _joined(values, value_states)


class Recorder(Cache):
    """Keeps the keys and values of a pass over whole prompts."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_Recording)

    def before(self, token: int) -> Cache:
        """What comes before a token in the corrupted rows, for rows of their number.

        Raises:
            MeasureError: A layer keeps something else than keys and values.
        """
        layers: list[Any] = []
        for number, layer in enumerate(self.layers):
            if not isinstance(layer, _Recording) or layer.keys is None:
                raise MeasureError(f"layer {number} keeps no keys and values")
            assert layer.values is not None
            keys, values = (
                layer.keys[1:, ..., :token, :],
                layer.values[1:, ..., :token, :],
            )
            layers.append(_Prefixed(keys, values))
        if not layers:
            raise MeasureError("the model keeps no keys and values")
        return Cache(layers=layers)


def _joined(before: Tensor, new: Tensor) -> Tensor:
    times = new.shape[0] // before.shape[0]
    return torch.cat([before.repeat(times, *[1] * (before.ndim - 1)), new], dim=-2)
