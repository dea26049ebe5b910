"""What do both models write after the same prompts, and where do they repeat?"""

from collections.abc import Iterator, Sequence
from typing import cast

from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.evaluate.generate import end_ids, greedy_answers
from driftmap.load.answers import encode_beginning, room_after
from driftmap.load.model import LoadedModel
from driftmap.recipes.edit_options import AnswerOptions
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.edit_kinds import Asked
from driftmap.results.edit_study import Written, WrittenPair
from driftmap.results.facts import Fact
from driftmap.stats.repetition import repeated, words_of

Prompt = tuple[Fact, Asked, str]


def written_pairs(
    pair: Pair, facts: Sequence[Fact], options: AnswerOptions
) -> tuple[WrittenPair, ...]:
    """Have both models go on from prompts about the first facts.

    Args:
        pair: Both models.
        facts: What was taught.
        options: How many facts, and how long an answer may be.
    """
    asked = [one for fact in facts[: options.show] for one in _prompts(fact)]
    if not asked:
        return ()
    before = _written(pair.base, asked, options.max_new_tokens)
    after = _written(pair.tuned, asked, options.max_new_tokens)
    return tuple(
        WrittenPair(
            fact_id=fact.id,
            asked=kind,
            prompt=prompt,
            true=fact.answer or "",
            new=fact.foil or "",
            before=was,
            after=now,
        )
        for (fact, kind, prompt), was, now in zip(asked, before, after, strict=True)
    )


def _prompts(fact: Fact) -> Iterator[Prompt]:
    """One prompt of each kind that there is."""
    kinds: tuple[tuple[Asked, tuple[str, ...]], ...] = (
        ("own wording", (fact.prompt,)),
        ("other wording", fact.paraphrases),
        ("free text", fact.generation_prompts),
        ("neighbour", fact.neighbours),
    )
    for kind, prompts in kinds:
        for prompt in prompts[:1]:
            yield fact, kind, prompt


def _written(
    loaded: LoadedModel, asked: Sequence[Prompt], max_new_tokens: int
) -> tuple[Written, ...]:
    tokenizer = loaded.tokenizer
    prompts = [
        encode_beginning(f"{fact.id} {kind}", prompt, tokenizer)
        for fact, kind, prompt in asked
    ]
    model = cast(PreTrainedModel | PeftModel, loaded.model)
    ends = end_ids(model, tokenizer)
    room = room_after(prompts, max_new_tokens, loaded.context_length)
    answers = greedy_answers(model, tokenizer, prompts, max_new_tokens=room)
    return tuple(
        Written(
            words=(words := words_of(answer.text)),
            repeated=repeated(words),
            has_ended=bool(answer.token_ids) and answer.token_ids[-1] in ends,
        )
        for answer in answers
    )
