"""How are tokens run after others whose keys and values are known?

Two caches: one that keeps what a whole pass makes, and one that puts some of it before
what a shorter pass makes. The second stores nothing, so it serves any number of cells.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

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
        self.before = keys, values
        self.stops = False
        self.is_initialized = True

    def get_seq_length(self) -> int:
        """Tokens before those that come."""
        return self.before[0].shape[-2]

    def update(
        self,
        key_states: Tensor,
        value_states: Tensor,
        *_: object,
        **__: object,
    ) -> tuple[Tensor, Tensor]:
        """Put what is known before what is new, once per row, and store nothing."""
        keys, values = self.before
        keys, values = _joined(keys, key_states), _joined(values, value_states)
        if self.stops:
            raise _KeysKnown(self, keys, values)
        return keys, values


class _KeysKnown(Exception):  # noqa: N818
    """A block that is asked for its keys and values alone has made them."""

    def __init__(self, layer: _Prefixed, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.layer = layer
        self.found = keys, values


class Prefix(Cache):
    """Keys and values of all tokens before one."""

    def __init__(self, layers: Sequence[_Prefixed]) -> None:
        super().__init__(layers=list(layers))
        self.known = tuple(layers)

    def made_by(self, run: Callable[[], object]) -> "Keys | None":
        """Run a block until its keys and values are made, and give these.

        Args:
            run: Calls the block.

        Returns:
            None where the block ran to its end without making any.
        """
        for layer in self.known:
            layer.stops = True
        try:
            run()
        except _KeysKnown as known:
            return Keys(layer=self.known.index(known.layer), found=known.found)
        finally:
            for layer in self.known:
                layer.stops = False
        return None

    def with_keys(self, keys: "Keys") -> "Prefix":
        """The same with those of one layer in place of its own.

        They are cut to as many tokens as the others have.
        """
        layers = list(self.known)
        length = layers[keys.layer].get_seq_length()
        cut = [found[..., :length, :] for found in keys.found]
        layers[keys.layer] = _Prefixed(*cut)
        return Prefix(layers)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """Keys and values of one layer, of every row and all tokens."""

    layer: int
    found: tuple[Tensor, Tensor]


class Recorder(Cache):
    """Keeps the keys and values of a pass over whole prompts."""

    def __init__(self) -> None:
        super().__init__(layer_class_to_replicate=_Recording)

    def before(self, token: int) -> Prefix:
        """What comes before a token in the corrupted rows, for rows of their number.

        Raises:
            MeasureError: A layer keeps something else than keys and values.
        """
        layers: list[_Prefixed] = []
        for number, layer in enumerate(self.layers):
            if not isinstance(layer, _Recording) or layer.keys is None:
                raise MeasureError(f"layer {number} keeps no keys and values")
            assert layer.values is not None
            layers.append(
                _Prefixed(
                    layer.keys[1:, ..., :token, :], layer.values[1:, ..., :token, :]
                )
            )
        if not layers:
            raise MeasureError("the model keeps no keys and values")
        return Prefix(layers)


def _joined(before: Tensor, new: Tensor) -> Tensor:
    times = new.shape[0] // before.shape[0]
    return torch.cat([before.repeat(times, *[1] * (before.ndim - 1)), new], dim=-2)
