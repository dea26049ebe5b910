"""What do both models look at, read with the same means on the same tokens?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from driftmap.capture.attention import observing
from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.noise import control_span
from driftmap.core.errors import ModelError
from driftmap.core.progress import progress
from driftmap.families.attention import find_attention
from driftmap.load.model import LoadedModel
from driftmap.measure.attention import AttentionFold, attention_numbers
from driftmap.measure.attention_change import row_divergence, word_mass
from driftmap.measure.tracing import token_roles
from driftmap.recipes.steps.comparing.attention.choosing import (
    Chosen,
    ChosenPrompt,
    ChosenText,
)
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.attention import (
    AttentionPlace,
    AttentionPrompt,
    AttentionQuery,
    AttentionRows,
)
from driftmap.results.attention_change import (
    AnswerLogits,
    BothRead,
    PromptAttention,
    TextAttention,
)
from driftmap.results.facts import EncodedFact

MOST_WEIGHTS = 40_000
"""Weights of one text that are kept of a model: all heads' maps, or of the heads that
moved most (count)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Read:
    """Rows of one text, with the logits of its last token."""

    rows: tuple[AttentionRows, ...]
    logits: Tensor


def read_both(pair: Pair, chosen: Chosen) -> BothRead:
    """Read every prompt from its last token, and every text whole.

    Args:
        pair: The models.
        chosen: What they read.

    Raises:
        ModelError: They do not attend in the same places.
    """
    places = _shared_places(pair)
    prompts: list[PromptAttention] = []
    texts: list[TextAttention] = []
    equal: list[bool] = []
    with progress(
        "read attention of both", len(chosen.prompts) + len(chosen.texts)
    ) as bar:
        for one in chosen.prompts:
            ids = one.encoded.token_ids[: one.encoded.num_prompt].tolist()
            before, after = _both(pair, places, ids, [len(ids) - 1])
            prompts.append(_prompt(pair.base, one, before, after))
            equal.append(_are_equal(before, after))
            bar.advance()
        for text in chosen.texts:
            found, is_equal = _text(pair, places, text)
            texts.append(found)
            equal.append(is_equal)
            bar.advance()
    return BothRead(
        base=pair.base.identity.source,
        tuned=pair.tuned.identity.source,
        places=places,
        num_layers=len(pair.base.layout.blocks),
        prompts=tuple(prompts),
        texts=tuple(texts),
        is_identical=all(equal),
        is_undisturbed=_is_undisturbed(pair, places, chosen),
        left_out=dict(chosen.left_out),
    )


def _shared_places(pair: Pair) -> tuple[AttentionPlace, ...]:
    places = find_attention(pair.base.model)
    if places != find_attention(pair.tuned.model):
        raise ModelError(
            f"{pair.tuned.identity.source}: it does not attend in the same places as "
            f"{pair.base.identity.source}; compare models of one shape"
        )
    return places


def _both(
    pair: Pair,
    places: tuple[AttentionPlace, ...],
    ids: Sequence[int],
    positions: Sequence[int],
) -> tuple[_Read, _Read]:
    return (
        _read(pair.base, places, ids, positions),
        _read(pair.tuned, places, ids, positions),
    )


def _read(
    loaded: LoadedModel,
    places: tuple[AttentionPlace, ...],
    ids: Sequence[int],
    positions: Sequence[int],
) -> _Read:
    queries = [
        AttentionQuery(kind="produces", answer_token=0, position=at) for at in positions
    ]
    fold = AttentionFold("", queries, len(ids), {}, is_whole=False)
    wanted = torch.tensor([list(positions)])
    with observing(loaded.model, places, wanted, fold.take):
        logits = _logits(loaded, ids)
    return _Read(rows=fold.result(), logits=logits)


def _logits(loaded: LoadedModel, ids: Sequence[int]) -> Tensor:
    with torch.no_grad(), evaluating(loaded.model):
        fed = torch.tensor([list(ids)], device=loaded.device)
        return loaded.model(fed, use_cache=False).logits[0, -1]


def _are_equal(before: _Read, after: _Read) -> bool:
    return torch.equal(before.logits, after.logits) and all(
        np.array_equal(one.weights, other.weights, equal_nan=True)
        for one, other in zip(before.rows, after.rows, strict=True)
    )


def _is_undisturbed(
    pair: Pair, places: tuple[AttentionPlace, ...], chosen: Chosen
) -> bool:
    """Whether reading changes nothing, seen on the first of what was read."""
    ids = [
        *(
            one.encoded.token_ids[: one.encoded.num_prompt]
            for one in chosen.prompts[:1]
        ),
        *(one.tokens.ids for one in chosen.texts[:1]),
    ]
    return all(
        torch.equal(
            _logits(loaded, [int(one) for one in own]),
            _read(loaded, places, [int(one) for one in own], [0]).logits,
        )
        for own in ids[:1]
        for loaded in (pair.base, pair.tuned)
    )


def _prompt(
    loaded: LoadedModel, one: ChosenPrompt, before: _Read, after: _Read
) -> PromptAttention:
    encoded, (row,), (new_row,) = one.encoded, before.rows, after.rows
    about = _about(loaded, encoded, before)
    return PromptAttention(
        prompt=about,
        is_edited=one.is_edited,
        before=attention_numbers(row, about),
        after=attention_numbers(new_row, about),
        divergence=row_divergence(row, new_row),
        words={
            word: word_mass(row, new_row, tokens, _control(encoded, tokens))
            for word, tokens in one.words.items()
        },
        answers=_answers(loaded, encoded, before.logits, after.logits),
    )


def _about(loaded: LoadedModel, encoded: EncodedFact, before: _Read) -> AttentionPrompt:
    said = int(before.logits.argmax())
    return AttentionPrompt(
        id=encoded.fact.id,
        text=encoded.fact.prompt,
        tokens=encoded.tokens,
        num_prompt=encoded.num_prompt,
        answer=(str(loaded.tokenizer.decode([said])),),
        subject=encoded.subject,
        control=_control(encoded, range(*encoded.subject)),
        roles=token_roles(encoded.num_prompt, encoded.subject),
        cluster=encoded.fact.subject or encoded.fact.id,
        is_known=None,
        log_prob=float(before.logits.float().log_softmax(dim=-1)[said]),
    )


def _control(encoded: EncodedFact, tokens: Sequence[int]) -> tuple[int, int] | None:
    """As many tokens beside those of some words that count: all but a text's first.

    None where these stand in several places, or none of them counts.
    """
    own = [token for token in tokens if token]
    if not own or own[-1] - own[0] + 1 != len(own):
        return None
    span = (own[0], own[-1] + 1)
    return control_span(replace(encoded, subject=span))


def _answers(
    loaded: LoadedModel, encoded: EncodedFact, before: Tensor, after: Tensor
) -> AnswerLogits:
    """By first tokens; answers that share theirs cannot be told apart by it."""
    given, taught = encoded.answer_ids[:1], encoded.foil_ids[:1]
    if given == taught:
        given = taught = ()
    told = [one.float().log_softmax(dim=-1) for one in (before, after)]
    taught_before, taught_after = (_of(own, taught) for own in told)
    given_before, given_after = (_of(own, given) for own in told)
    return AnswerLogits(
        taught_before=taught_before,
        taught_after=taught_after,
        given_before=given_before,
        given_after=given_after,
        is_first_before=_is_first(before, taught or given),
        is_first_after=_is_first(after, taught or given),
    )


def _of(log_probs: Tensor, ids: tuple[int, ...]) -> float | None:
    return float(log_probs[ids[0]]) if ids else None


def _is_first(logits: Tensor, ids: tuple[int, ...]) -> bool:
    return bool(ids) and int(logits.argmax()) == ids[0]


def _text(
    pair: Pair, places: tuple[AttentionPlace, ...], text: ChosenText
) -> tuple[TextAttention, bool]:
    size = len(text.tokens.ids)
    num_rows = max(1, min(size, MOST_WEIGHTS // (len(places) * size)))
    rows = range(size - num_rows, size)
    before, after = _both(pair, places, text.tokens.ids, rows)
    maps = [_map(one.rows) for one in (before, after)]
    heads = _moved_most(maps[0], maps[1], places)
    picked = tuple(np.array(heads).T)
    base, tuned = (np.nanmean(one, axis=1) for one in maps)
    found = TextAttention(
        text=text.text,
        tokens=text.tokens.texts,
        starred=tuple(sorted({n for own in text.words.values() for n in own})),
        words=dict(text.words),
        rows=tuple(rows),
        before=base,
        after=tuned,
        heads=heads,
        head_before=maps[0][picked],
        head_after=maps[1][picked],
        row_before=maps[0][:, :, -1],
        row_after=maps[1][:, :, -1],
    )
    return found, _are_equal(before, after)


def _map(rows: Sequence[AttentionRows]) -> np.ndarray:
    """By place, head, query and key."""
    return np.stack([row.weights for row in rows], axis=2)


def _moved_most(
    before: np.ndarray, after: np.ndarray, places: Sequence[AttentionPlace]
) -> tuple[tuple[int, int], ...]:
    """As many heads as there is room for, those that moved most, in order of layers."""
    there = [(n, h) for n, place in enumerate(places) for h in range(place.num_heads)]
    moved = {one: float(np.abs(after[one] - before[one]).max()) for one in there}
    room = max(1, MOST_WEIGHTS // before[0, 0].size)
    return tuple(sorted(sorted(there, key=lambda one: -moved[one])[:room]))
