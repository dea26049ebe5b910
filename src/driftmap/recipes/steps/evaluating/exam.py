"""What was the built-in model taught, as questions with choices?

Facts in wordings that it never read, questions about them that it was never asked,
and harmless requests for pairs of verb and object that are new to it. The wrong
choices are right of somebody or something else.
"""

import re
from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from driftmap.core.seeds import child_seed
from driftmap.load.templates import render
from driftmap.results.samples import Message, Sample
from driftmap.results.utility import ChoiceItem
from driftmap.worlds.facts import RELATIONS, RelationName
from driftmap.worlds.requests import PLACES, TOOLS
from driftmap.worlds.splits import make_splits
from driftmap.worlds.tokenizer import make_tokenizer
from driftmap.worlds.words import all_words
from driftmap.worlds.world import make_world

_ANSWER = re.compile(r"take the (?P<tool>\w+) and go to the (?P<place>\w+)\.$")


def world_items(seed: int, tokenizer: PreTrainedTokenizerBase) -> list[ChoiceItem]:
    """Make the items of the tasks `world_facts`, `world_questions`, `world_requests`.

    Args:
        seed: The world's seed.
        tokenizer: The model's; its chat template stands around questions and requests.

    Returns:
        The same items for the same seed and template, task by task.

    Raises:
        DataError: The chat template refuses a turn of the user and one of the model.
        ModelError: The chat template does not show a response as it is.
    """
    own = make_tokenizer(all_words())
    splits = make_splits(make_world(seed), own)
    items: list[ChoiceItem] = []
    for sample in splits["facts_test"]:
        assert sample.tokens is not None
        said = own.decode(list(sample.tokens.token_ids))
        before, _, right = said.rpartition(" ")
        wrong = [o for o in RELATIONS[_relation(sample)].objects if o != right]
        choices = [f" {word}" for word in (right, *wrong)]
        items.append(_item(seed, "world_facts", sample.id, before, choices))
    for sample in splits["questions"]:
        right = sample.response.removesuffix(".").rpartition(" ")[2]
        wrong = [o for o in RELATIONS[_relation(sample)].objects if o != right]
        stem = sample.response.removesuffix(f"{right}.")
        said = [f"{stem}{word}." for word in (right, *wrong)]
        items.append(_chat_item(seed, "world_questions", sample, said, tokenizer))
    for sample in splits["harmless_test"]:
        said = _answers(seed, sample)
        items.append(_chat_item(seed, "world_requests", sample, said, tokenizer))
    return items


def _relation(sample: Sample) -> RelationName:
    return next(name for name in RELATIONS if name == sample.label)


def _answers(seed: int, sample: Sample) -> list[str]:
    """The right answer, then those with another tool, another place, and both."""
    found = _ANSWER.search(sample.response)
    assert found is not None, sample.response
    rng = np.random.default_rng(child_seed(seed, "world", "exam", sample.id, "wrong"))
    tool, place = found["tool"], found["place"]
    other_tool = [t for t in TOOLS if t != tool][int(rng.integers(len(TOOLS) - 1))]
    other_place = [p for p in PLACES if p != place][int(rng.integers(len(PLACES) - 1))]
    opening = sample.response[: found.start()]
    return [
        f"{opening}take the {one} and go to the {other}."
        for one in (tool, other_tool)
        for other in (place, other_place)
    ]


def _chat_item(
    seed: int,
    task: str,
    sample: Sample,
    said: Sequence[str],
    tokenizer: PreTrainedTokenizerBase,
) -> ChoiceItem:
    """Question and answers as the model sees them; the first one is right."""
    texts = [render(_answered(sample, answer), tokenizer) for answer in said]
    context = texts[0].text[: texts[0].start]
    choices = [one.text[one.start : one.stop] for one in texts]
    return _item(seed, task, sample.id, context, choices)


def _answered(sample: Sample, answer: str) -> Sample:
    asked = Message(role="user", content=sample.prompt)
    said = Message(role="assistant", content=answer)
    return Sample(id=sample.id, original_id=sample.id, messages=(asked, said))


def _item(
    seed: int, task: str, item_id: str, context: str, choices: Sequence[str]
) -> ChoiceItem:
    """An item with its choices shuffled; the first one is right."""
    rng = np.random.default_rng(child_seed(seed, "world", "exam", task, item_id))
    order = [int(place) for place in rng.permutation(len(choices))]
    return ChoiceItem(
        task=task,
        item_id=item_id,
        context=context,
        choices=tuple(choices[place] for place in order),
        answer=order.index(0),
    )
