"""What do both models say when they are asked about facts, pass by pass?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from driftmap.capture.answers import AnswerNumbers, answer_numbers
from driftmap.capture.lens import logit_lens
from driftmap.capture.next_tokens import NextTokens, NextTokensBeside, next_tokens
from driftmap.capture.readings import read_tokens
from driftmap.capture.windows import Windows
from driftmap.core.progress import progress
from driftmap.evaluate.consistency import consistency, word_weights
from driftmap.evaluate.fluency import fluency, variety, words_of
from driftmap.evaluate.generate import drawn_answers
from driftmap.evaluate.generators import Decoding
from driftmap.load.encoding import turn_ends
from driftmap.load.model import LoadedModel
from driftmap.load.spelled import spell
from driftmap.measure.divergence import divergences
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.steps.bench import batches_of
from driftmap.recipes.steps.comparing.edit_questions import (
    EditQuestions,
    EncodedQuestions,
    own_prompts,
)
from driftmap.recipes.steps.readings.reading import WINDOW, token_text
from driftmap.results.edits import (
    AnswerLens,
    DistributionShift,
    EditContext,
    EditReadings,
    FirstTokens,
    ShiftKind,
    WrittenTexts,
)
from driftmap.results.readings import SpelledText
from driftmap.results.samples import EncodedSample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """Questions in words and tokens, and how much of them is asked.

    Args:
        questions: In words.
        encoded: In tokens.
        options: How much is asked.
        texts: Running texts, each once.
        context: Texts about subjects and answers.
        max_new_tokens: Longest text that is written (tokens).
    """

    questions: EditQuestions
    encoded: EncodedQuestions
    options: EditMeasureOptions
    texts: tuple[SpelledText, ...]
    context: EditContext
    max_new_tokens: int

    @property
    def consistency_facts(self) -> tuple[int, ...]:
        """Facts that have texts to compare with, of those that are written about."""
        answers = {one.answer for one in self.context.about if one.answer}
        return tuple(
            number
            for number in dict.fromkeys(one.fact for one in self.questions.writing)
            if self.questions.facts[number].foil in answers
        )

    @property
    def essence_facts(self) -> tuple[int, ...]:
        """Facts that have a text about their subject."""
        subjects = {one.subject for one in self.context.about if one.subject}
        facts = enumerate(self.questions.facts)
        return tuple(number for number, fact in facts if fact.subject in subjects)


def paired_next(
    base: LoadedModel, tuned: LoadedModel, asked: Asked
) -> tuple[NextTokensBeside | None, tuple[DistributionShift, ...]]:
    """Compare what both say next at the end of prompts, without an answer.

    Returns:
        At the own prompts of facts whose answers begin apart, in their order, None
        where there is none; and how far apart the models are by kind of prompt.
    """
    own = own_prompts(asked.questions)
    facts = asked.encoded.apart
    first = None
    if facts:
        places = [own[fact] for fact in facts]
        wanted = np.array(
            [
                [
                    _first_id(side[place])
                    for side in (asked.encoded.true, asked.encoded.new)
                ]
                for place in places
            ],
            np.int64,
        )
        prompts = [_bare(asked.encoded.true[place]) for place in places]
        first = _next(base, tuned, asked, prompts, wanted)
    return first, tuple(_shifts(base, tuned, asked))


def one_model(
    loaded: LoadedModel, asked: Asked, first: NextTokens | None
) -> EditReadings:
    """Read one model alone.

    Args:
        loaded: The model.
        asked: What it is asked.
        first: What it says next, from `paired_next`.
    """
    nll_true, nll_new = both_losses(
        loaded, asked.encoded, asked.options.fact_batch_size
    )
    known = _answers(loaded, asked.encoded.known, asked.options.fact_batch_size)
    about = essence_texts(loaded, asked)
    return EditReadings(
        nll_true=nll_true,
        nll_new=nll_new,
        known_p=known.p,
        known_first=known.is_first,
        first=None if first is None else _first(loaded, asked, first),
        lens=_lens(loaded, asked),
        written=_written(loaded, asked),
        text_surprise=_surprise(loaded, asked.texts),
        essence=_surprise(loaded, about) if about else None,
    )


def essence_texts(loaded: LoadedModel, asked: Asked) -> tuple[SpelledText, ...]:
    """All that is told of each subject, in the order of `Asked.essence_facts`.

    Raises:
        DataError: It is one token that nothing stands before.
    """
    subjects = [asked.questions.facts[fact].subject for fact in asked.essence_facts]
    told = asked.context.about
    return tuple(
        spell(
            f"--about, {subject}",
            "\n\n".join(one.text for one in told if one.subject == subject),
            loaded.tokenizer,
        )
        for subject in subjects
    )


def both_losses(
    loaded: LoadedModel, encoded: EncodedQuestions, batch_size: int
) -> tuple[Float64[np.ndarray, " prompt"], Float64[np.ndarray, " prompt"]]:
    """NLL of the true and of the new answer at every prompt, in nats a token."""
    found = _answers(loaded, [*encoded.true, *encoded.new], batch_size).nll
    size = len(encoded.true)
    return found[:size], found[size:]


def _answers(
    loaded: LoadedModel, samples: Sequence[EncodedSample], batch_size: int
) -> AnswerNumbers:
    batches = batches_of(loaded, samples, batch_size) if samples else ()
    return answer_numbers(loaded.model, batches)


def _shifts(
    base: LoadedModel, tuned: LoadedModel, asked: Asked
) -> Sequence[DistributionShift]:
    found = []
    for kind, places, samples in _ends(asked):
        if not samples:
            continue
        none = np.zeros((len(samples), 0), np.int64)
        forward, backward, js = _next(base, tuned, asked, samples, none).apart
        found.append(
            DistributionShift(
                kind=kind,
                fact=np.array(places, np.int64),
                kl_forward=forward,
                kl_backward=backward,
                js=js,
            )
        )
    return found


def _ends(asked: Asked) -> Sequence[tuple[ShiftKind, list[int], list[EncodedSample]]]:
    """Prompts without answers, by kind, with whose they are."""
    found: list[tuple[ShiftKind, list[int], list[EncodedSample]]] = []
    prompts, known = asked.questions.prompts, asked.questions.known
    for kind in ("rewrite", "neighbour"):
        here = [n for n, one in enumerate(prompts) if one.kind == kind]
        samples = [_bare(asked.encoded.true[n]) for n in here]
        found.append((kind, [prompts[n].fact for n in here], samples))
    for kind in ("same subject", "unrelated"):
        here = [n for n, one in enumerate(known) if one.kind == kind]
        found.append((kind, here, [_bare(asked.encoded.known[n]) for n in here]))
    return found


def _next(
    base: LoadedModel,
    tuned: LoadedModel,
    asked: Asked,
    prompts: Sequence[EncodedSample],
    wanted: Int64[np.ndarray, "prompt wanted"],
) -> NextTokensBeside:
    batches = batches_of(base, prompts, asked.options.fact_batch_size)
    top = asked.options.num_likely
    return next_tokens(base.model, tuned.model, batches, wanted, _apart, top)


def _apart(
    before: Float[Tensor, "prompt vocabulary"],
    after: Float[Tensor, "prompt vocabulary"],
) -> Float64[np.ndarray, "3 prompt"]:
    found = divergences(before, after)
    return torch.stack([found.forward, found.backward, found.js]).double().numpy()


def _first(loaded: LoadedModel, asked: Asked, found: NextTokens) -> FirstTokens:
    return FirstTokens(
        fact=np.array(asked.encoded.apart, np.int64),
        logit_true=found.logit[:, 0],
        logit_new=found.logit[:, 1],
        log_p_true=found.log_p[:, 0],
        log_p_new=found.log_p[:, 1],
        rank_true=found.rank[:, 0],
        rank_new=found.rank[:, 1],
        top_ids=found.top_ids,
        top_p=found.top_p,
        tops=tuple(
            tuple(token_text(loaded, token) for token in row if token >= 0)
            for row in found.top_ids.tolist()
        ),
    )


def _lens(loaded: LoadedModel, asked: Asked) -> AnswerLens | None:
    own = own_prompts(asked.questions)
    facts = [one for one in asked.encoded.apart if one < asked.options.num_lensed]
    if not facts:
        return None
    found = []
    with progress("follow answers through layers", len(facts)) as bar:
        for fact in facts:
            true, new = asked.encoded.true[own[fact]], asked.encoded.new[own[fact]]
            size = true.prompt_length
            found.append(
                logit_lens(
                    loaded.model,
                    true.token_ids[:size],
                    np.array([size - 1]),
                    np.array([_first_id(true)]),
                    np.array([_first_id(new)]),
                )
            )
            bar.advance()
    foils = [(one.foil_p, one.foil_rank) for one in found]
    return AnswerLens(
        fact=np.array(facts, np.int64),
        p_true=np.stack([one.answer_p[:, 0] for one in found]),
        p_new=np.stack([p[:, 0] for p, _ in foils if p is not None]),
        rank_true=np.stack([one.answer_rank[:, 0] for one in found]),
        rank_new=np.stack([rank[:, 0] for _, rank in foils if rank is not None]),
    )


def _written(loaded: LoadedModel, asked: Asked) -> WrittenTexts | None:
    writing = asked.questions.writing
    if not writing:
        return None
    answers = drawn_answers(
        cast(PreTrainedModel | PeftModel, loaded.model),
        loaded.tokenizer,
        asked.encoded.writing,
        Decoding(max_new_tokens=asked.max_new_tokens),
        batch_size=asked.options.fact_batch_size,
        more_ends=turn_ends(loaded.tokenizer) if loaded.tokenizer.chat_template else (),
    )
    texts = tuple(answer.text for (answer,) in answers)
    whole = [f"{one.text} {text}" for one, text in zip(writing, texts, strict=True)]
    return WrittenTexts(
        texts=texts,
        fluency=np.array([fluency(text) for text in whole]),
        variety=np.array([variety(text) for text in whole]),
        num_words=np.array([len(words_of(text)) for text in texts], np.int64),
        consistency=_consistency(asked, whole),
    )


def _consistency(
    asked: Asked, whole: Sequence[str]
) -> Float64[np.ndarray, " fact"] | None:
    facts = asked.consistency_facts
    if not facts:
        return None
    weights = word_weights([one.text for one in asked.context.about])
    writers = [one.fact for one in asked.questions.writing]
    return np.array(
        [
            consistency(
                [t for t, writer in zip(whole, writers, strict=True) if writer == fact],
                [
                    one.text
                    for one in asked.context.about
                    if one.answer == asked.questions.facts[fact].foil
                ],
                weights,
            )
            for fact in facts
        ]
    )


def _surprise(
    loaded: LoadedModel, texts: Sequence[SpelledText]
) -> Float64[np.ndarray, " text"]:
    """Mean over each text's tokens of -ln p, in nats."""
    if not texts:
        return np.zeros(0)
    window = min(loaded.context_length or WINDOW, WINDOW)
    windows = Windows(window=window, stride=window // 2)
    numbers = read_tokens(loaded.model, [one.token_ids for one in texts], windows)
    return np.array(
        [
            one.surprise[text.num_context :].mean()
            for one, text in zip(numbers, texts, strict=True)
        ]
    )


def _first_id(sample: EncodedSample) -> int:
    return int(sample.token_ids[sample.prompt_length])


def _bare(sample: EncodedSample) -> EncodedSample:
    """The prompt without its answer."""
    size = sample.prompt_length
    return EncodedSample(
        sample_id=sample.sample_id,
        token_ids=sample.token_ids[:size],
        counted=np.zeros(size, bool),
        prompt_length=size,
    )
