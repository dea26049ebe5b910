"""What are two models asked, so that what sets them apart can be followed?

Either facts whose new answer was taught, or requests to which the two say different
things: then the new behaviour is what the tuned model says, the old one what the base
says, token by token.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.errors import DataError
from driftmap.evaluate.generate import greedy_answers
from driftmap.load.answers import encode_answer, encode_beginning
from driftmap.load.encoding import encode_prompts
from driftmap.load.model import LoadedModel
from driftmap.load.spans import encode_fact
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.where_options import WhereOptions
from driftmap.results.facts import EncodedFact, Fact
from driftmap.results.probes import Probes
from driftmap.results.samples import EncodedSample, Message, Sample
from driftmap.results.where_it_acts import Behaviour

_UNLIKE = Sample(
    id="unlike", original_id="unlike", messages=(Message(role="user", content="?"),)
)
"""A request that has no token in common with most: what it shares is the template."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """Prompts, each with the new and the old behaviour after it.

    Args:
        behaviour: What the new one is.
        owners: Whose each prompt is: those of one subject are drawn together.
        new: Prompts with the new behaviour, whose tokens count.
        old: The same prompts with the old one.
        near_owners: Whose neighbours the next two are of.
        near_new: Prompts about other subjects with the same true answer, and the new
            one after them.
        near_old: The same with the true one.
        traced: The same prompts where the two behaviours part: `answer` is the old
            one, `foil` the new.
        traced_owners: Whose they are.
        num_same: Prompts to which both models say the same, as far as both speak: one
            of the two may end its answer sooner (count).
        left_out: Why others are not asked -> how many.
    """

    behaviour: Behaviour
    owners: tuple[str, ...]
    new: tuple[EncodedSample, ...]
    old: tuple[EncodedSample, ...]
    near_owners: tuple[str, ...] = ()
    near_new: tuple[EncodedSample, ...] = ()
    near_old: tuple[EncodedSample, ...] = ()
    traced: tuple[EncodedFact, ...] = ()
    traced_owners: tuple[str, ...] = ()
    num_same: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


def asked_of_facts(
    loaded: LoadedModel, facts: Sequence[Fact], options: WhereOptions
) -> Asked:
    """Ask for the true and the taught answer of facts.

    Args:
        loaded: Either model.
        facts: Those without both answers are left out.
        options: How many.
    """
    left_out: Counter[str] = Counter()
    found = [
        _of_fact(loaded, fact) for fact in _both(facts, left_out)[: options.num_asked]
    ]
    kept = [one for one in found if one is not None]
    if len(kept) < len(found):
        left_out["tokens of a prompt change when its answer follows"] += len(
            found
        ) - len(kept)
    near = [pair for one in kept for pair in one.near]
    traced = [
        (encoded, one.fact.subject)
        for one in kept
        if (encoded := _encoded_fact(loaded, one.fact)) is not None
    ][: options.num_traced]
    return Asked(
        behaviour="taught answers",
        owners=tuple(one.fact.subject for one in kept),
        new=tuple(one.new for one in kept),
        old=tuple(one.old for one in kept),
        near_owners=tuple(one.fact.subject for one in kept for _ in one.near),
        near_new=tuple(new for new, _ in near),
        near_old=tuple(old for _, old in near),
        traced=tuple(encoded for encoded, _ in traced),
        traced_owners=tuple(subject for _, subject in traced),
        left_out=left_out,
    )


def asked_of_requests(pair: Pair, probes: Probes, options: WhereOptions) -> Asked:
    """Have both models answer, and ask both for both answers.

    Args:
        pair: The two models.
        probes: Requests of both kinds, and texts that are broken off in the middle.
        options: How many, and how long answers are.
    """
    prompts = _prompts(pair.base, probes, options.num_asked)
    if not prompts:
        return Asked(behaviour="own words", owners=(), new=(), old=())
    said = [_said(loaded, prompts, options) for loaded in (pair.base, pair.tuned)]
    apart = [
        (prompt, old, new)
        for prompt, old, new in zip(prompts, *said, strict=True)
        if _agreement(old, new) < min(len(old), len(new))
    ]
    traced = [_parting(pair.base, *one) for one in apart][: options.num_traced]
    owners = tuple(prompt.sample_id for prompt, _, _ in apart)
    return Asked(
        behaviour="own words",
        owners=owners,
        new=tuple(_followed(prompt, new) for prompt, _, new in apart),
        old=tuple(_followed(prompt, old) for prompt, old, _ in apart),
        traced=_with_spans(pair.base, traced),
        traced_owners=owners[: len(traced)],
        num_same=len(prompts) - len(apart),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _OfFact:
    """A fact with both answers, and its neighbours with both."""

    fact: Fact
    new: EncodedSample
    old: EncodedSample
    near: tuple[tuple[EncodedSample, EncodedSample], ...]


def _both(facts: Sequence[Fact], left_out: Counter[str]) -> list[Fact]:
    found = [fact for fact in facts if fact.answer and fact.foil]
    if len(found) < len(facts):
        left_out["no taught answer beside the true one"] += len(facts) - len(found)
    return found


def _of_fact(loaded: LoadedModel, fact: Fact) -> _OfFact | None:
    own = _answers(loaded, fact, fact.id, fact.prompt)
    if own is None:
        return None
    near = (
        _answers(loaded, fact, f"{fact.id} neighbour {number}", prompt)
        for number, prompt in enumerate(dict.fromkeys(fact.neighbours))
    )
    new, old = own
    found = tuple(one for one in near if one is not None)
    return _OfFact(fact=fact, new=new, old=old, near=found)


def _answers(
    loaded: LoadedModel, fact: Fact, name: str, prompt: str
) -> tuple[EncodedSample, EncodedSample] | None:
    """A prompt with the new answer and with the true one."""
    assert fact.answer is not None, fact.id
    assert fact.foil is not None, fact.id
    try:
        new = encode_answer(name, prompt, fact.foil, loaded.tokenizer)
        old = encode_answer(name, prompt, fact.answer, loaded.tokenizer)
    except DataError:
        return None
    return new, old


def _encoded_fact(loaded: LoadedModel, fact: Fact) -> EncodedFact | None:
    try:
        return encode_fact(fact, loaded.tokenizer)
    except DataError:  # its subject cannot be found, so it has no roles
        return None


def _prompts(loaded: LoadedModel, probes: Probes, most: int) -> list[EncodedSample]:
    """Requests of both kinds; the first halves of texts where there are none."""
    samples = [*probes.harmful[:most], *probes.harmless[:most]]
    if samples:
        return list(encode_prompts(samples, loaded.tokenizer))
    halves = [text.split() for text in probes.texts[:most]]
    return [
        encode_beginning(
            f"text {number}", " ".join(words[: len(words) // 2]), loaded.tokenizer
        )
        for number, words in enumerate(halves)
        if len(words) > 3
    ]


def _said(
    loaded: LoadedModel, prompts: Sequence[EncodedSample], options: WhereOptions
) -> list[tuple[int, ...]]:
    answers = greedy_answers(
        cast(PreTrainedModel | PeftModel, loaded.model),
        loaded.tokenizer,
        prompts,
        max_new_tokens=options.num_tokens,
        batch_size=options.batch_size,
    )
    return [answer.token_ids for answer in answers]


def _followed(prompt: EncodedSample, words: Sequence[int]) -> EncodedSample:
    ids = np.array([*prompt.token_ids.tolist(), *words], np.int32)
    return EncodedSample(
        sample_id=prompt.sample_id,
        token_ids=ids,
        counted=np.arange(ids.size) >= prompt.token_ids.size,
        prompt_length=prompt.token_ids.size,
    )


def _parting(
    loaded: LoadedModel, prompt: EncodedSample, old: Sequence[int], new: Sequence[int]
) -> EncodedFact:
    """A prompt up to the token at which the two answers part."""
    shared = _agreement(old, new)
    ids = np.array([*prompt.token_ids.tolist(), *old[:shared]], np.int32)
    words = [str(loaded.tokenizer.decode([int(token)])) for token in ids]
    ends = [str(loaded.tokenizer.decode([one[shared]])) for one in (old, new)]
    return EncodedFact(
        fact=Fact(
            id=prompt.sample_id,
            subject=prompt.sample_id,
            prompt="".join(words),
            answer=ends[0],
            foil=ends[1],
        ),
        token_ids=ids,
        num_prompt=len(ids),
        subject=(0, prompt.token_ids.size),
        answer_ids=(int(old[shared]),),
        foil_ids=(int(new[shared]),),
        tokens=tuple(words),
        offsets=((0, 0),) * len(ids),
    )


def _with_spans(
    loaded: LoadedModel, traced: Sequence[EncodedFact]
) -> tuple[EncodedFact, ...]:
    """With the request's own tokens, without those of the template, as the subject."""
    (unlike,) = encode_prompts([_UNLIKE], loaded.tokenizer)
    return tuple(_spans(traced, unlike.token_ids.tolist()))


def _spans(
    traced: Sequence[EncodedFact], unlike: Sequence[int]
) -> Iterator[EncodedFact]:
    for one in traced:
        ids = one.token_ids[: one.subject[1]].tolist()
        first = _agreement(ids, unlike)
        last = _agreement(ids[first:][::-1], unlike[first:][::-1])
        end = max(first + 1, len(ids) - last)
        yield EncodedFact(
            fact=one.fact,
            token_ids=one.token_ids,
            num_prompt=one.num_prompt,
            subject=(min(first, end - 1), end),
            answer_ids=one.answer_ids,
            foil_ids=one.foil_ids,
            tokens=one.tokens,
            offsets=one.offsets,
        )


def _agreement(one: Sequence[int], other: Sequence[int]) -> int:
    """Tokens that both begin with (count)."""
    pairs = list(zip(one, other, strict=False))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
