"""What does a model say once its states are pushed along a direction?

`h <- h + c x sd x sign x d/|d|` at the output of blocks (Zou et al. 2023,
arXiv:2310.01405, activation addition). In units of sd, c means the same in every layer
and model. With c = 0 the model is not touched: not one bit moves.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.families.discover import find_layout
from driftmap.families.modules import base_model

SteeredTokens = Literal["all", "prompt", "generated", "last"]
"""`prompt`: tokens of the pass that starts the text, `generated`: those of later passes
over its cache, `last`: the last token of every pass."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SteeringVector:
    """Where to push one block's output.

    Args:
        layer: Number of the block, from 0.
        direction: d, of any length but 0.
        sd: Pooled standard deviation of states along `d/|d|` (units of the state).
        sign: 1 where d points to what positive strengths are to bring, else -1.
    """

    layer: int
    direction: Float[Tensor, " width"]
    sd: float
    sign: Literal[-1, 1] = 1


@contextmanager
def steering(
    model: nn.Module,
    vectors: Sequence[SteeringVector],
    strength: float,
    *,
    tokens: SteeredTokens | Bool[Tensor, "sample token"] = "all",
    keeps_norm: bool = False,
) -> Iterator[None]:
    """Push the states of a band of layers for as long as the block runs.

    Padding, as the attention mask that is handed to the model tells it, is never
    touched.

    Args:
        model: A decoder-only language model, with or without PEFT adapters; left as it
            was found, also after an error.
        vectors: One for each layer of the band.
        strength: c, in standard deviations; negative to push the other way.
        tokens: Which tokens are pushed, or flags of those of a first pass: the tokens
            that are generated after it are then left alone.
        keeps_norm: Give each pushed state its former length back.

    Raises:
        MeasureError: The strength is not finite, a vector has no direction or no
            spread, or the model has no such layer or another width; or, while the
            model runs, its attention mask or the flags do not fit what it is given.
    """
    paths = _checked(model, vectors, strength)
    if strength == 0:
        yield
        return
    chosen = _Chosen(tokens)
    with ExitStack() as hooks:
        decoder = _decoder(model, paths[0])
        handle = decoder.register_forward_pre_hook(chosen.see, with_kwargs=True)
        hooks.callback(handle.remove)
        for vector in vectors:
            push = _pusher(vector, strength, chosen.flags, keeps_norm)
            block = base_model(model).get_submodule(paths[vector.layer])
            hooks.callback(block.register_forward_hook(push).remove)
        yield


def random_vectors(
    vectors: Sequence[SteeringVector], seed: int
) -> tuple[SteeringVector, ...]:
    """Directions drawn by chance that push exactly as far: what any push does.

    Args:
        vectors: Those they stand beside.
        seed: Of the draw.

    >>> one = SteeringVector(layer=3, direction=torch.tensor([1.0, 0.0]), sd=2.0)
    >>> drawn = random_vectors([one], seed=0)[0]
    >>> drawn.layer, drawn.sd, drawn.direction.shape
    (3, 2.0, torch.Size([2]))
    """
    drawn = []
    for vector in vectors:
        source = torch.Generator().manual_seed(
            child_seed(seed, "random direction", vector.layer)
        )
        direction = torch.randn(vector.direction.shape, generator=source)
        drawn.append(replace(vector, direction=direction, sign=1))
    return tuple(drawn)


class _Chosen:
    """Which tokens of the pass that is running are pushed."""

    def __init__(self, tokens: SteeredTokens | Tensor) -> None:
        self._tokens = tokens
        self._real: Tensor | None = None
        self._num_past = 0

    def see(
        self, decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        """Look at what the decoder is given, before it makes anything of it."""
        bound = inspect.signature(decoder.forward).bind_partial(*args, **kwargs)
        given: Mapping[str, Any] = bound.arguments
        given = {**given, **given.get("kwargs", {})}
        mask, cache = given.get("attention_mask"), given.get("past_key_values")
        if mask is not None and not (isinstance(mask, Tensor) and mask.ndim == 2):
            raise MeasureError(
                "the model is given a mask that does not tell padding from text; hand "
                "it an attention mask of one flag for each sample and token"
            )
        self._real = None if mask is None else mask.bool()
        self._num_past = 0 if cache is None else int(cache.get_seq_length())

    def flags(self, states: Tensor) -> Bool[Tensor, "sample token"]:
        """Flags of the tokens whose states these are."""
        shape = states.shape[:-1]
        real = torch.ones(shape, dtype=torch.bool, device=states.device)
        if self._real is not None:
            start = self._num_past
            real = self._real[:, start : start + shape[1]].to(states.device)
        return real & self._wanted(real)

    def _wanted(self, real: Tensor) -> Tensor:
        if isinstance(self._tokens, Tensor):
            return self._flagged(self._tokens, real)
        if self._tokens == "last":
            return real.flip(1).cumsum(1).flip(1) == 1
        is_first = self._num_past == 0
        wanted = self._tokens == "all" or (self._tokens == "prompt") == is_first
        return torch.full_like(real, wanted)

    def _flagged(self, flags: Tensor, real: Tensor) -> Tensor:
        if self._num_past:
            return torch.zeros_like(real)
        if flags.shape != real.shape:
            raise MeasureError(
                f"{tuple(flags.shape)} flags of tokens to steer do not fit the "
                f"{tuple(real.shape)} tokens that the model is given; give one for "
                "each sample and token"
            )
        return flags.to(real.device)


def _checked(
    model: nn.Module, vectors: Sequence[SteeringVector], strength: float
) -> tuple[str, ...]:
    """Paths of the blocks, once everything fits them."""
    layout = find_layout(model)
    layers = [vector.layer for vector in vectors]
    if not math.isfinite(strength):
        raise MeasureError(f"a strength of {strength} steers nowhere; give a number")
    if len(set(layers)) != len(layers):
        raise MeasureError(
            f"layers {layers} name one twice; give one steering vector for each"
        )
    width = _width(model)
    for vector in vectors:
        _require_fit(vector, len(layout.blocks), width)
    return layout.blocks


def _require_fit(vector: SteeringVector, num_layers: int, width: int) -> None:
    where = f"steering vector of layer {vector.layer}"
    if not 0 <= vector.layer < num_layers:
        raise MeasureError(
            f"{where}: the model has layers 0 to {num_layers - 1}; steer one of them"
        )
    if len(vector.direction) != width:
        raise MeasureError(
            f"{where}: it has {len(vector.direction)} numbers, states of this model "
            f"have {width}; read the vector from this model"
        )
    length = float(torch.linalg.vector_norm(vector.direction.double()))
    if not (length > 0 and math.isfinite(length)):
        raise MeasureError(f"{where}: its direction is zero or not finite")
    if not (vector.sd > 0 and math.isfinite(vector.sd)):
        raise MeasureError(
            f"{where}: a spread of {vector.sd} gives strengths no unit; was it read "
            "from one state alone?"
        )


def _width(model: nn.Module) -> int:
    """Of states: an embedding may be narrower than the blocks after it."""
    config = cast(Any, base_model(model)).config.get_text_config(decoder=True)
    return int(config.hidden_size)


def _decoder(model: nn.Module, block: str) -> nn.Module:
    """The module that runs the blocks.

    Hooks on the model itself do not run below adapters, which call its `forward` by
    name.
    """
    path = block.rpartition(".")[0].rpartition(".")[0]
    return base_model(model).get_submodule(path)


def _pusher(
    vector: SteeringVector,
    strength: float,
    flags: Callable[[Tensor], Tensor],
    keeps_norm: bool,
) -> Callable[[nn.Module, object, object], object]:
    unit = vector.direction.double() / torch.linalg.vector_norm(
        vector.direction.double()
    )
    step = strength * vector.sd * vector.sign * unit

    def push(_block: nn.Module, _inputs: object, output: object) -> object:
        states = output[0] if isinstance(output, tuple) else output
        assert isinstance(states, Tensor), type(_block)
        pushed = _pushed(states, step, keeps_norm)
        states = torch.where(flags(states)[..., None], pushed, states)
        return (states, *output[1:]) if isinstance(output, tuple) else states

    return push


def _pushed(states: Tensor, step: Tensor, keeps_norm: bool) -> Tensor:
    """In float32 at least: a small step is lost among numbers of 8 bits."""
    wide = states.to(torch.promote_types(states.dtype, torch.float32))
    pushed = wide + step.to(wide.device, wide.dtype)
    if keeps_norm:
        former = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        now = torch.linalg.vector_norm(pushed, dim=-1, keepdim=True)
        pushed = pushed * (former / now.clamp_min(torch.finfo(wide.dtype).tiny))
    return pushed.to(states.dtype)
