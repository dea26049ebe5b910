"""What do two models give for the tokens of texts, facts and held-out samples?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.capture.two_models import read_both
from driftmap.capture.windows import Windows
from driftmap.load.model import LoadedModel
from driftmap.measure.divergence import DivergenceFold
from driftmap.measure.tokens import character_pieces
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.comparing.behaviour.asking import AskedFact
from driftmap.recipes.steps.readings.reading import WINDOW, token_text
from driftmap.results.behaviour_change import (
    AnswerReading,
    FactChange,
    LikelyToken,
    TextDivergence,
    TokenDivergence,
)
from driftmap.results.readings import SpelledText, TokenNumbers
from driftmap.results.samples import EncodedSample

Models = tuple[LoadedModel, LoadedModel]
"""The base, and what it is compared with."""

Texts = Sequence[Int64[np.ndarray, " _"]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadByBoth:
    """One row of tokens, read by both models."""

    before: TokenNumbers
    after: TokenNumbers
    apart: TokenDivergence


def windows_of(loaded: LoadedModel, options: BehaviourOptions) -> Windows:
    """How long texts are cut for a model."""
    window = max(2, min(loaded.context_length or options.window, options.window))
    return Windows(window=window, stride=max(1, window // 2))


def read_rows(
    models: Models, rows: Texts, options: BehaviourOptions
) -> tuple[ReadByBoth, ...]:
    """Read rows of tokens with both models, each token once.

    Args:
        models: The base, and what it is compared with.
        rows: Token ids.
        options: How long texts are cut.
    """
    if not rows:
        return ()
    base, other = models
    windows = windows_of(base, options)
    fold = DivergenceFold([len(row) for row in rows])
    longest = min(windows.window, max(len(row) for row in rows))
    found = read_both(
        (base.model, other.model),
        rows,
        windows,
        fold.take,
        batch_size=max(1, min(options.batch_size, WINDOW // longest)),
    )
    return tuple(
        ReadByBoth(before=before, after=after, apart=apart)
        for (before, after), apart in zip(found, fold.result(), strict=True)
    )


def read_texts(
    models: Models, texts: Sequence[SpelledText], options: BehaviourOptions
) -> tuple[TextDivergence, ...]:
    """Read texts with both models."""
    rows = [text.token_ids for text in texts]
    return tuple(
        TextDivergence(
            spelled=text,
            before=one.before,
            after=one.after,
            before_tops=tops_of(models[0], one.before),
            after_tops=tops_of(models[0], one.after),
            apart=one.apart,
            pieces=pieces_of(text),
        )
        for text, one in zip(texts, read_rows(models, rows, options), strict=True)
    )


def pieces_of(text: SpelledText) -> Int64[np.ndarray, "piece 4"]:
    """Tokens that share a character, together."""
    return np.array(character_pieces(text), np.int64).reshape(-1, 4)


def tops_of(loaded: LoadedModel, numbers: TokenNumbers) -> tuple[tuple[str, ...], ...]:
    """The most likely tokens of each place, as text."""
    return tuple(
        tuple(token_text(loaded, token) for token in row if token >= 0)
        for row in numbers.top_ids.tolist()
    )


def read_facts(
    models: Models, facts: Sequence[AskedFact], options: BehaviourOptions
) -> tuple[tuple[FactChange, ...], bool]:
    """Read the answers of facts with both models.

    Returns:
        The facts, and whether every logit of both models is equal, bit for bit.
    """
    rows = [one.answer for one in facts]
    foils = {n: one.foil for n, one in enumerate(facts) if one.foil is not None}
    every = [*rows, *foils.values()]
    found = read_rows(models, [_ids(row) for row in every], options)
    of_foils = dict(zip(foils, found[len(rows) :], strict=True))
    changes = tuple(
        _change(models[0], fact, found[number], of_foils.get(number))
        for number, fact in enumerate(facts)
    )
    return changes, all(one.apart.is_same for one in found)


def prompt_divergence(
    models: Models, facts: Sequence[AskedFact], options: BehaviourOptions
) -> Float64[np.ndarray, " fact"]:
    """KL from the base to another model after each fact's prompt (nats)."""
    found = read_rows(models, [_ids(one.answer) for one in facts], options)
    return np.array(
        [
            one.apart.forward[fact.answer.prompt_length]
            for fact, one in zip(facts, found, strict=True)
        ]
    )


def _ids(sample: EncodedSample) -> Int64[np.ndarray, " token"]:
    return sample.token_ids.astype(np.int64)


def _change(
    loaded: LoadedModel, asked: AskedFact, own: ReadByBoth, foil: ReadByBoth | None
) -> FactChange:
    # What stands at the first token of the answer is what the prompt alone foretells.
    first = asked.answer.prompt_length
    return FactChange(
        id=asked.fact.id,
        subject=asked.fact.subject or asked.fact.id,
        prompt=asked.fact.prompt,
        answer=asked.fact.answer or "",
        foil=asked.fact.foil if foil is not None else None,
        answer_before=_reading(own.before, own.apart.before_logit, first),
        answer_after=_reading(own.after, own.apart.after_logit, first),
        foil_before=None
        if foil is None
        else _reading(foil.before, foil.apart.before_logit, first),
        foil_after=None
        if foil is None
        else _reading(foil.after, foil.apart.after_logit, first),
        kl_forward=float(own.apart.forward[first]),
        kl_backward=float(own.apart.backward[first]),
        js=float(own.apart.js[first]),
        before_tops=_tops(loaded, own.before, first),
        after_tops=_tops(loaded, own.after, first),
    )


def _reading(
    numbers: TokenNumbers, logits: Float64[np.ndarray, " token"], first: int
) -> AnswerReading:
    return AnswerReading(
        nll_nats=float(numbers.surprise[first:].mean()),
        log_p=-float(numbers.surprise[first]),
        logit=float(logits[first]),
        rank=int(numbers.rank[first]),
    )


def _tops(
    loaded: LoadedModel, numbers: TokenNumbers, place: int
) -> tuple[LikelyToken, ...]:
    return tuple(
        LikelyToken(text=token_text(loaded, token), p=p)
        for token, p in zip(
            numbers.top_ids[place].tolist(), numbers.top_p[place].tolist(), strict=True
        )
        if token >= 0
    )
