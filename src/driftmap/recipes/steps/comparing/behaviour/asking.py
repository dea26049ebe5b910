"""Which tokens do the probes of a comparison become, and which cannot be asked?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.load.answers import encode_answer
from driftmap.load.encoding import Encoding, encode, encode_prompts
from driftmap.load.model import LoadedModel
from driftmap.load.spelled import spell
from driftmap.results.facts import Fact
from driftmap.results.probes import Probes
from driftmap.results.readings import SpelledText
from driftmap.results.samples import EncodedSample

TOO_SHORT = "texts of a single token"
REPEATED = "texts that were given before"
NO_ANSWER = "facts without an answer"
CHANGED = "facts whose prompt's tokens change when an answer follows"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AskedFact:
    """A fact with its answers after its prompt; `foil` is None without one."""

    fact: Fact
    answer: EncodedSample
    foil: EncodedSample | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """Probes as tokens.

    Args:
        texts: Plain texts.
        facts: Those with an answer.
        harmful: Prompts of requests that should be refused.
        harmless: Prompts of requests that should be answered.
        held_out: Samples with their responses.
        harmful_words: What each of the harmful requests says.
        harmless_words: What each of the harmless ones says.
        left_out: Why some could not be asked, and how many there were.
    """

    texts: tuple[SpelledText, ...]
    facts: tuple[AskedFact, ...]
    harmful: tuple[EncodedSample, ...]
    harmless: tuple[EncodedSample, ...]
    held_out: tuple[EncodedSample, ...]
    harmful_words: tuple[str, ...]
    harmless_words: tuple[str, ...]
    left_out: Mapping[str, int]


def asked_of(loaded: LoadedModel, probes: Probes) -> Asked:
    """Turn probes into one model's tokens.

    Args:
        loaded: Whose tokenizer reads them.
        probes: In words.

    Raises:
        DataError: A request is longer than what the model reads at once.
    """
    left_out: Counter[str] = Counter()
    tokenizer, most = loaded.tokenizer, loaded.context_length
    return Asked(
        texts=asked_texts(loaded, probes.texts, left_out),
        facts=asked_facts(loaded, probes.facts, left_out),
        harmful=encode_prompts(probes.harmful, tokenizer, most),
        harmless=encode_prompts(probes.harmless, tokenizer, most),
        held_out=encode(probes.held_out, tokenizer, Encoding(max_length=most)),
        harmful_words=tuple(one.prompt for one in probes.harmful),
        harmless_words=tuple(one.prompt for one in probes.harmless),
        left_out=dict(left_out),
    )


def asked_texts(
    loaded: LoadedModel, texts: Sequence[str], left_out: Counter[str]
) -> tuple[SpelledText, ...]:
    """Texts as tokens, each once; what is left out is counted in `left_out`."""
    found, seen = [], set[str]()
    for number, text in enumerate(texts, 1):
        if text in seen:  # a second one would count as independent of the first
            left_out[REPEATED] += 1
            continue
        seen.add(text)
        try:
            found.append(spell(f"text {number}", text, loaded.tokenizer))
        except DataError as error:
            say(f"{error}; the text is left out")
            left_out[TOO_SHORT] += 1
    return tuple(found)


def asked_facts(
    loaded: LoadedModel, facts: Sequence[Fact], left_out: Counter[str]
) -> tuple[AskedFact, ...]:
    """Facts with an answer as tokens; others are counted in `left_out`."""
    found = []
    for fact in facts:
        if not fact.answer:
            left_out[NO_ANSWER] += 1
            continue
        try:
            found.append(_asked(loaded, fact, fact.answer))
        except DataError as error:
            say(f"{error}; the fact is left out")
            left_out[CHANGED] += 1
    return tuple(found)


def _asked(loaded: LoadedModel, fact: Fact, answer: str) -> AskedFact:
    tokenizer = loaded.tokenizer
    foil = None
    if fact.foil:
        foil = encode_answer(fact.id, fact.prompt, fact.foil, tokenizer)
    return AskedFact(
        fact=fact,
        answer=encode_answer(fact.id, fact.prompt, answer, tokenizer),
        foil=foil,
    )
