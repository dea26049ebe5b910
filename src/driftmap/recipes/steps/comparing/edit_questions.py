"""What exactly are both models asked about facts, in words and in tokens?"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.seeds import child_seed
from driftmap.evaluate.fluency import repeated
from driftmap.load.answers import encode_answer, encode_beginning
from driftmap.load.model import LoadedModel
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.results.edits import (
    EditContext,
    EditPrompt,
    EditPromptKind,
    KnownPrompt,
    WritingPrompt,
)
from driftmap.results.facts import Fact
from driftmap.results.samples import EncodedSample


@dataclass(frozen=True, slots=True, kw_only=True)
class EditQuestions:
    """All prompts, in words.

    Args:
        facts: Those with a true and a new answer.
        prompts: Where both are weighed.
        known: What was not taught.
        writing: Beginnings to go on from.
        num_duplicates: Prompts left out, because a fact has them twice (count).
        num_taught_elsewhere: Prompts left out, because they were taught (count).
    """

    facts: tuple[Fact, ...]
    prompts: tuple[EditPrompt, ...]
    known: tuple[KnownPrompt, ...]
    writing: tuple[WritingPrompt, ...]
    num_duplicates: int
    num_taught_elsewhere: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedQuestions:
    """The same as one model's tokens.

    Args:
        true: Prompts with the true answer.
        new: Prompts with the new one.
        known: What was not taught, with its answer.
        writing: Beginnings.
        apart: Numbers of the facts whose two answers begin with different tokens.
    """

    true: tuple[EncodedSample, ...]
    new: tuple[EncodedSample, ...]
    known: tuple[EncodedSample, ...]
    writing: tuple[EncodedSample, ...]
    apart: tuple[int, ...]


def edit_questions(
    facts: Sequence[Fact], options: EditMeasureOptions, context: EditContext, seed: int
) -> EditQuestions:
    """Gather prompts; what a fact does not have is not asked.

    Args:
        facts: With a true answer and a new one; others are taken as not taught.
        options: How much is asked.
        context: Facts that were not taught.
        seed: The run's seed, which draws unrelated facts.

    Raises:
        DataError: No fact has both answers.
    """
    taught = tuple(fact for fact in facts if fact.answer and fact.foil)
    if not taught:
        raise DataError(
            f"none of {len(facts)} facts has both an answer and a foil; give both, the "
            "true answer and the new one"
        )
    prompts, left_out = _prompts(taught)
    writing = list(_writing(taught[: options.num_written]))
    twice = [n for n, one in enumerate(writing) if one in writing[:n]]
    others = (*context.others, *facts)
    return EditQuestions(
        facts=taught,
        prompts=prompts,
        known=_known(taught, others, options.num_unrelated, seed),
        writing=tuple(one for n, one in enumerate(writing) if n not in twice),
        num_duplicates=left_out.num_duplicates + len(twice),
        num_taught_elsewhere=left_out.num_taught,
    )


def encoded_questions(
    loaded: LoadedModel, questions: EditQuestions
) -> EncodedQuestions:
    """Turn all prompts into tokens; no pass is made.

    Args:
        loaded: The base or the tuned model: their tokenizer is one.
        questions: In words.

    Raises:
        DataError: A prompt's tokens change when an answer follows it, it has none, or
            it is longer than what the model reads at once.
    """
    tokenizer = loaded.tokenizer
    names = [_name(questions, one) for one in questions.prompts]
    true, new = (
        tuple(
            encode_answer(name, one.text, _answer(questions, one, which), tokenizer)
            for name, one in zip(names, questions.prompts, strict=True)
        )
        for which in ("answer", "foil")
    )
    known = tuple(
        encode_answer(one.fact_id, one.text, one.answer, tokenizer)
        for one in questions.known
    )
    writing = tuple(
        encode_beginning(
            f"{questions.facts[one.fact].id}, {one.text}", one.text, tokenizer
        )
        for one in questions.writing
    )
    for sample in (*true, *new, *known, *writing):
        _require_room(sample, loaded.context_length)
    return EncodedQuestions(
        true=true,
        new=new,
        known=known,
        writing=writing,
        apart=tuple(_apart(questions, true, new)),
    )


def own_prompts(questions: EditQuestions) -> dict[int, int]:
    """Number of each fact's own prompt among all, by the number of the fact."""
    return {
        one.fact: number
        for number, one in enumerate(questions.prompts)
        if one.kind == "rewrite"
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class _LeftOut:
    num_duplicates: int
    num_taught: int


def _prompts(taught: Sequence[Fact]) -> tuple[tuple[EditPrompt, ...], _LeftOut]:
    told = {text for fact in taught for text in (fact.prompt, *fact.paraphrases)}
    found: list[EditPrompt] = []
    num_duplicates = num_taught = 0
    for number, fact in enumerate(taught):
        for kind, texts in _by_kind(fact):
            # A paraphrase that is the fact's own prompt is none.
            above = (fact.prompt,) if kind == "paraphrase" else ()
            twice = repeated((*above, *texts))
            num_duplicates += len(twice)
            for place, text in enumerate(texts, len(above)):
                if place in twice:
                    continue
                if kind in ("neighbour", "attribute") and text in told:
                    num_taught += 1
                    continue
                found.append(EditPrompt(fact=number, kind=kind, text=text))
    return tuple(found), _LeftOut(num_duplicates=num_duplicates, num_taught=num_taught)


def _by_kind(fact: Fact) -> Iterator[tuple[EditPromptKind, tuple[str, ...]]]:
    yield "rewrite", (fact.prompt,)
    yield "paraphrase", fact.paraphrases
    yield "neighbour", fact.neighbours
    yield "attribute", fact.attributes


def _writing(facts: Sequence[Fact]) -> Iterator[WritingPrompt]:
    for number, fact in enumerate(facts):
        for text in fact.generation_prompts:
            yield WritingPrompt(fact=number, text=text)


def _known(
    taught: Sequence[Fact], others: Sequence[Fact], num_unrelated: int, seed: int
) -> tuple[KnownPrompt, ...]:
    told = {text for fact in taught for text in (fact.prompt, *fact.paraphrases)}
    said = {fact.said for fact in taught}
    subjects = {fact.subject for fact in taught}
    rest = {fact.prompt: fact for fact in reversed(others) if fact.answer}
    free = [
        fact
        for prompt, fact in reversed(rest.items())
        if prompt not in told and fact.said not in said
    ]
    near = [fact for fact in free if fact.subject in subjects]
    far = [fact for fact in free if fact.subject not in subjects]
    if len(far) > num_unrelated:
        rng = np.random.default_rng(child_seed(seed, "unrelated facts"))
        drawn = rng.choice(len(far), num_unrelated, replace=False)
        far = [far[number] for number in sorted(drawn.tolist())]
    return (
        *(_known_prompt(fact, is_near=True) for fact in near),
        *(_known_prompt(fact, is_near=False) for fact in far),
    )


def _known_prompt(fact: Fact, *, is_near: bool) -> KnownPrompt:
    assert fact.answer is not None
    return KnownPrompt(
        fact_id=fact.id,
        subject=fact.subject,
        kind="same subject" if is_near else "unrelated",
        text=fact.prompt,
        answer=fact.answer,
    )


def _answer(questions: EditQuestions, prompt: EditPrompt, which: str) -> str:
    fact = questions.facts[prompt.fact]
    return str(fact.answer if which == "answer" else fact.foil)


def _name(questions: EditQuestions, prompt: EditPrompt) -> str:
    fact = questions.facts[prompt.fact].id
    return fact if prompt.kind == "rewrite" else f"{fact}, {prompt.kind}"


def _apart(
    questions: EditQuestions,
    true: Sequence[EncodedSample],
    new: Sequence[EncodedSample],
) -> Iterator[int]:
    for fact, number in own_prompts(questions).items():
        one, other = true[number], new[number]
        if one.token_ids[one.prompt_length] != other.token_ids[other.prompt_length]:
            yield fact


def _require_room(sample: EncodedSample, most: int | None) -> None:
    if most is not None and sample.token_ids.size > most:
        raise DataError(
            f"{sample.sample_id}: its {sample.token_ids.size} tokens are more than the "
            f"{most} that the model reads at once; shorten it or leave it out"
        )
