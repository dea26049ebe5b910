"""How far do hidden states, keys and values of a model lie from those of its base?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64

from driftmap.capture.kv_cache import CachedStates, cached_states
from driftmap.capture.token_states import token_states
from driftmap.capture.windows import Piece, padded
from driftmap.core.errors import DataError, MeasureError
from driftmap.core.progress import progress
from driftmap.load.model import LoadedModel
from driftmap.load.spans import encode_fact
from driftmap.measure.state_change import state_change
from driftmap.measure.tracing import token_roles
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.comparing.behaviour.asking import AskedFact
from driftmap.recipes.steps.readings.reading import token_text
from driftmap.results.readings import SpelledText
from driftmap.results.readings_change import CacheShape, StateChange, TextStates


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stated:
    """A text or a prompt whose states are compared.

    Args:
        name: What the report calls it.
        subject: Whom it is about; the name of a text.
        token_ids: Its tokens, as many as are read at once.
        roles: What part each token plays; empty for a text.
    """

    name: str
    subject: str
    token_ids: Int64[np.ndarray, " token"]
    roles: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ComparedStates:
    """States of all texts under one model, against the base's.

    Args:
        states: Text by text.
        cache: What each layer of the base's cache holds; empty where there is none.
        cache_layers: Numbers of these layers.
        no_cache: Why there is none; empty where there is.
    """

    states: tuple[TextStates, ...]
    cache: tuple[CacheShape, ...]
    cache_layers: tuple[int, ...]
    no_cache: str


def stated(
    loaded: LoadedModel,
    texts: Sequence[SpelledText],
    facts: Sequence[AskedFact],
    options: BehaviourOptions,
) -> tuple[Stated, ...]:
    """The first texts and the first facts' prompts, as tokens."""
    most = min(loaded.context_length or options.window, options.window)
    plain = [
        Stated(
            name=text.name,
            subject=text.name,
            token_ids=text.token_ids[:most],
            roles=(),
        )
        for text in texts[: options.num_states]
    ]
    prompts = [_prompt(loaded, one, most) for one in facts[: options.num_states]]
    return (*plain, *prompts)


def compare_states(
    base: LoadedModel, other: LoadedModel, texts: Sequence[Stated]
) -> ComparedStates:
    """Read texts with both models, one after the other, and compare their states.

    Args:
        base: The model before tuning.
        other: What was made of it.
        texts: One or more.

    Raises:
        MeasureError: The two have other layers, or a state is NaN or infinite.
    """
    found: list[TextStates] = []
    cache: tuple[CacheShape, ...] = ()
    layers: tuple[int, ...] = ()
    no_cache = ""
    with progress("compare states", len(texts)) as bar:
        for text in texts:
            hidden = state_change(_hidden(base, text), _hidden(other, text))
            keys = values = None
            if not no_cache:
                try:
                    held = [_cache(one, text) for one in (base, other)]
                except MeasureError as error:
                    no_cache = str(error)
                else:
                    keys = state_change(held[0].keys, held[1].keys)
                    values = state_change(held[0].values, held[1].values)
                    cache, layers = _shapes(*held), held[0].layers
            found.append(_text(base, text, hidden, (keys, values)))
            bar.advance()
    return ComparedStates(
        states=tuple(found), cache=cache, cache_layers=layers, no_cache=no_cache
    )


def _prompt(loaded: LoadedModel, asked: AskedFact, most: int) -> Stated:
    ids = asked.answer.token_ids[: asked.answer.prompt_length].astype(np.int64)
    roles: tuple[tuple[str, ...], ...] = ()
    try:
        span = encode_fact(asked.fact, loaded.tokenizer).subject
        roles = token_roles(len(ids), span)
    except (DataError, MeasureError):
        pass  # a subject that is not found plays no role; its prompt is read
    return Stated(
        name=asked.fact.prompt,
        subject=asked.fact.subject or asked.fact.id,
        token_ids=ids[:most],
        roles=roles[:most],
    )


def _hidden(loaded: LoadedModel, text: Stated) -> list[torch.Tensor]:
    """Block outputs `[1 token width]`."""
    piece = Piece(text=0, start=0, skipped=1, token_ids=text.token_ids)
    layers = range(len(loaded.layout.blocks))
    (states,) = token_states(loaded.model, [padded([piece], loaded.device)], layers)
    return [torch.from_numpy(states[:, layer])[None] for layer in layers]


def _cache(loaded: LoadedModel, text: Stated) -> CachedStates:
    return cached_states(loaded.model, text.token_ids)


def _shapes(base: CachedStates, other: CachedStates) -> tuple[CacheShape, ...]:
    found = []
    for number, layer in enumerate(base.layers):
        keys, values = base.keys[number], base.values[number]
        pair = other.keys[number], other.values[number]
        own = keys.shape[0] * (
            keys.shape[2] * keys.element_size()
            + values.shape[2] * values.element_size()
        )
        found.append(
            CacheShape(
                layer=layer,
                num_heads=keys.shape[0],
                key_width=keys.shape[2],
                value_width=values.shape[2],
                bytes_per_token=own,
                is_same=all(
                    one.shape == two.shape and one.dtype == two.dtype
                    for one, two in zip((keys, values), pair, strict=True)
                ),
            )
        )
    return tuple(found)


def _text(
    loaded: LoadedModel,
    text: Stated,
    hidden: StateChange,
    cache: tuple[StateChange | None, StateChange | None],
) -> TextStates:
    keys, values = cache
    return TextStates(
        name=text.name,
        subject=text.subject,
        tokens=tuple(token_text(loaded, int(one)) for one in text.token_ids),
        roles=text.roles,
        hidden=hidden,
        keys=keys,
        values=values,
    )
