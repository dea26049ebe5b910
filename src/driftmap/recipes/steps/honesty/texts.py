"""How honest is each token of an answer, or of a given text, by the direction?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Int64
from transformers import PreTrainedModel

from driftmap.core.shortage import explained
from driftmap.evaluate.generate import greedy_answers
from driftmap.load.contrasts import SpokenText, ask, speak
from driftmap.load.encoding import turn_ends
from driftmap.load.spelled import spell_answer
from driftmap.measure.reading import scores
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.honesty.asked import Question
from driftmap.recipes.steps.honesty.files import TEXTS, TEXTS_KIND, load_reading
from driftmap.recipes.steps.honesty.planning import Plan
from driftmap.recipes.steps.honesty.reading import vector_of
from driftmap.recipes.steps.honesty.states import marked, states_at
from driftmap.results.honesty import HonestyReading, ScoredText, ScoredTexts, TextKind
from driftmap.results.readings import SpelledText
from driftmap.results.samples import EncodedSample
from driftmap.store.arrays_apart import save_apart
from driftmap.store.steps import StepOutcome

NUM_PROMPTS = 3
"""Prompts of facts that are answered where none is given."""

GIVEN = "given texts"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Told:
    """A text that is to be scored."""

    name: str
    kind: TextKind
    title: str
    spelled: SpelledText


def texts_step(
    study: Study, plan: Plan, question: Question, read: StepOutcome
) -> StepOutcome:
    """Answer prompts under both instructions, and score answers and given texts."""
    prompts, given = _prompts(question), _given(question)

    def make(folder: Path) -> None:
        with explained("answering prompts", "repeat with fewer --prompt"):
            told = [*_answers(study, plan, prompts, question), *_texts(study, given)]
        texts = _scored(study, plan, load_reading(read), told)
        save_apart(folder, TEXTS, ScoredTexts(texts=texts), TEXTS_KIND)

    inputs = {
        "of": read.key,
        "prompts": list(prompts),
        "given": [list(one) for one in given],
        "instructions": [
            plan.instructions.honest,
            plan.instructions.dishonest,
            plan.instructions.template,
        ],
        "max_new_tokens": question.texts.max_new_tokens,
    }
    return study.run.step("texts", inputs, make)


def _prompts(question: Question) -> tuple[str, ...]:
    usual = tuple(one.prompt for one in question.facts[:NUM_PROMPTS])
    return question.texts.prompt or usual


def _given(question: Question) -> tuple[tuple[str, str], ...]:
    """Titles and texts."""
    if question.texts.text:
        return tuple(
            (f"text {number}", text)
            for number, text in enumerate(question.texts.text, 1)
        )
    test = question.halves["test"]
    found = []
    for truth, title in ((True, "a true statement"), (False, "a false statement")):
        found += [(title, one.text) for one in test if one.is_true == truth][:1]
    return tuple(found)


def _answers(
    study: Study, plan: Plan, prompts: Sequence[str], question: Question
) -> list[_Told]:
    tokenizer, said = study.loaded.tokenizer, plan.instructions
    sides: tuple[tuple[TextKind, str], ...] = (
        ("honest", said.honest),
        ("dishonest", said.dishonest),
    )
    asked: list[tuple[str, TextKind, SpokenText]] = [
        (f"prompt {number}", kind, ask(prompt, words, tokenizer, said.template))
        for number, prompt in enumerate(prompts, 1)
        for kind, words in sides
    ]
    if not asked:
        return []
    answers = greedy_answers(
        cast(PreTrainedModel, study.loaded.model),
        tokenizer,
        [_encoded(f"{name} {kind}", spoken) for name, kind, spoken in asked],
        max_new_tokens=question.texts.max_new_tokens,
        batch_size=plan.options.batch_size,
    )
    ends = {*tokenizer.all_special_ids, *_turn_ends(study)}
    told = []
    for (name, kind, spoken), answer in zip(asked, answers, strict=True):
        written = [one for one in answer.token_ids if one not in ends]
        ids = np.array([*spoken.token_ids, *written], np.int64)
        whole = spell_answer(_spelled(name, spoken), ids, tokenizer)
        title = f"under the {kind} instruction"
        told.append(_Told(name=name, kind=kind, title=title, spelled=whole))
    return told


def _texts(study: Study, given: Sequence[tuple[str, str]]) -> list[_Told]:
    return [
        _Told(
            name=GIVEN,
            kind="given",
            title=title,
            spelled=_spelled(title, speak(text, "", study.loaded.tokenizer, "plain")),
        )
        for title, text in given
    ]


def _spelled(name: str, spoken: SpokenText) -> SpelledText:
    return SpelledText(
        name=name,
        text=spoken.text,
        token_ids=np.array(spoken.token_ids, np.int64),
        spans=np.array(spoken.spans, np.int64).reshape(-1, 2),
        num_context=spoken.start,
        has_begin=spoken.start > 0,
    )


def _scored(
    study: Study, plan: Plan, found: HonestyReading, told: Sequence[_Told]
) -> tuple[ScoredText, ...]:
    vector = vector_of(found, found.band.method)
    places = [vector.layers.index(layer) for layer in found.band.layers]
    wanted = [
        marked(
            f"{one.name} ({one.title})",
            one.spelled.token_ids.tolist(),
            range(one.spelled.token_ids.size),
        )
        for one in told
    ]
    states = states_at(study, wanted, vector.layers, plan.options.batch_size)
    texts = []
    for one, held in zip(told, states, strict=True):
        each = scores(vector, held)
        texts.append(
            ScoredText(
                name=one.name,
                kind=one.kind,
                title=one.title,
                text=one.spelled.text,
                pieces=pieces(one.spelled.text, one.spelled.spans),
                is_prompt=np.arange(len(each)) < one.spelled.num_context,
                layers=vector.layers,
                score=each,
                band_score=each[:, places].mean(1),
            )
        )
    return tuple(texts)


def pieces(text: str, spans: Int64[np.ndarray, "token 2"]) -> tuple[str, ...]:
    """Cut a text at its tokens: joined, the pieces are the text.

    Of a character of several tokens the last one holds it.

    >>> pieces("a é", np.array([[0, 0], [0, 1], [2, 3], [2, 3]]))
    ('', 'a', '', ' é')
    """
    ends = np.maximum.accumulate(spans[:, 1])
    if len(ends):
        ends[-1] = len(text)
    cut, start = [], 0
    for number, end in enumerate(ends.tolist()):
        shares_next = number + 1 < len(ends) and (
            spans[number].tolist() == spans[number + 1].tolist()
        )
        stop = start if shares_next else max(start, end)
        cut.append(text[start:stop])
        start = stop
    return tuple(cut)


def _encoded(name: str, spoken: SpokenText) -> EncodedSample:
    return EncodedSample(
        sample_id=name,
        token_ids=np.array(spoken.token_ids, np.int32),
        counted=np.zeros(len(spoken.token_ids), bool),
        prompt_length=len(spoken.token_ids),
    )


def _turn_ends(study: Study) -> tuple[int, ...]:
    tokenizer = study.loaded.tokenizer
    return turn_ends(tokenizer) if tokenizer.chat_template else ()
