"""Which prompts and texts do both models read, and which tokens are looked for?"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.quoted import quoted
from driftmap.load.facts import in_every_wording
from driftmap.load.model import LoadedModel
from driftmap.load.spans import encode_fact, joined, occurrences
from driftmap.load.token_offsets import Tokens, tokens_of
from driftmap.recipes.attention_change_options import AttentionChangeOptions
from driftmap.results.facts import EncodedFact, Fact


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChosenPrompt:
    """A prompt up to its answer.

    Args:
        encoded: Its tokens; those of its answers are known and not fed.
        is_edited: It is about a subject of the facts, not about another one.
        words: Given words that stand in it -> numbers of their tokens.
    """

    encoded: EncodedFact
    is_edited: bool
    words: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenText:
    """A text, with the subjects and given words in it -> numbers of their tokens."""

    text: str
    tokens: Tokens
    words: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """All that both models read, and why other prompts cannot be."""

    prompts: tuple[ChosenPrompt, ...]
    texts: tuple[ChosenText, ...]
    left_out: Counter[str]


def choose(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    texts: Sequence[str],
    options: AttentionChangeOptions,
    untouched: Sequence[Fact] = (),
) -> Chosen:
    """Put facts and texts into the tokens that both models share.

    Args:
        loaded: Either model.
        facts: Those that were edited, or may have been.
        texts: By default sentences of the first facts, with the new answer and with
            the old one.
        options: What is read.
        untouched: Facts of other subjects; by default those of the facts' neighbours.

    Raises:
        DataError: Given words stand nowhere, or a text is too long.
    """
    left_out: Counter[str] = Counter()
    subjects = {fact.subject for fact in facts}
    others = [fact for fact in untouched if fact.subject not in subjects]
    if not untouched:
        others = list(_of_neighbours(facts, subjects, options.num_untouched))
    prompts = [
        *_prompts(loaded, facts, options, left_out, is_edited=True),
        *_prompts(loaded, others, options, left_out, is_edited=False),
    ]
    own = texts or list(_sentences(facts[: options.num_texts]))
    read = tuple(_text(loaded, text, facts, options) for text in own)
    _require_words(prompts, read, options.words)
    return Chosen(prompts=tuple(prompts), texts=read, left_out=left_out)


def _of_neighbours(
    facts: Sequence[Fact], subjects: set[str], most: int
) -> Iterator[Fact]:
    """Other subjects in the same wordings, each once."""
    taken = set(subjects)
    for fact in facts:
        found = dict.fromkeys(n for n in _other_subjects(fact) if n not in taken)
        for number, other in enumerate(list(found)[:most]):
            taken.add(other)
            yield replace(
                fact,
                id=f"{fact.id} (untouched {number + 1})",
                subject=other,
                prompt=fact.prompt.replace(fact.subject, other),
                answer=None,
                foil=None,
                paraphrases=tuple(
                    one.replace(fact.subject, other)
                    for one in fact.paraphrases
                    if len(occurrences(one, fact.subject)) == 1
                ),
            )


def _other_subjects(fact: Fact) -> Iterator[str]:
    """Who stands in the subject's place where a neighbour has the fact's own words."""
    for wording in (fact.prompt, *fact.paraphrases):
        places = occurrences(wording, fact.subject)
        if len(places) != 1 or wording == fact.subject:
            continue
        start, stop = places[0]
        before, after = wording[:start], wording[stop:]
        for other in (*fact.neighbours, *fact.attributes):
            name = other[len(before) : len(other) - len(after)]
            if name.strip() and other == f"{before}{name}{after}":
                yield name


def _prompts(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    options: AttentionChangeOptions,
    left_out: Counter[str],
    *,
    is_edited: bool,
) -> Iterator[ChosenPrompt]:
    asked = in_every_wording(facts) if options.wordings == "all" else facts
    for fact in asked:
        try:
            encoded = encode_fact(fact, loaded.tokenizer)
        except DataError as error:
            if not left_out:
                say(f"left out: {error}")
            left_out["subject or answer not found in the tokens"] += 1
            continue
        limit = loaded.context_length
        if limit is not None and encoded.num_prompt > limit:
            left_out["longer than the model reads at once"] += 1
            continue
        tokens = tokens_of(fact.prompt, loaded.tokenizer)
        words = {
            word: _tokens_with(word, fact.prompt, tokens) for word in options.words
        }
        yield ChosenPrompt(
            encoded=encoded,
            is_edited=is_edited,
            words={word: found for word, found in words.items() if found},
        )


def _sentences(facts: Sequence[Fact]) -> Iterator[str]:
    """Each fact with its new answer and with its old one."""
    for fact in facts:
        for answer in (fact.foil, fact.answer):
            if answer is not None:
                yield joined(fact.prompt, answer)


def _text(
    loaded: LoadedModel,
    text: str,
    facts: Sequence[Fact],
    options: AttentionChangeOptions,
) -> ChosenText:
    tokens = tokens_of(text, loaded.tokenizer)
    limit = loaded.context_length
    if not tokens.ids:
        raise DataError(f"{quoted(text)!r} has no tokens; give a text")
    if limit is not None and len(tokens.ids) > limit:
        raise DataError(
            f"{quoted(text)!r}: its {len(tokens.ids)} tokens are more than the {limit} "
            "that the model reads at once; give a shorter text"
        )
    sought = dict.fromkeys((*(fact.subject for fact in facts), *options.words))
    words = {word: _tokens_with(word, text, tokens) for word in sought if word.strip()}
    return ChosenText(
        text=text,
        tokens=tokens,
        words={word: found for word, found in words.items() if found},
    )


def _tokens_with(word: str, text: str, tokens: Tokens) -> tuple[int, ...]:
    """Numbers of the tokens that share a character with some words, in all places."""
    return tuple(
        number
        for number, (first, end) in enumerate(tokens.offsets)
        if any(
            text[max(first, start) : min(end, stop)].strip()
            for start, stop in occurrences(text, word)
        )
    )


def _require_words(
    prompts: Sequence[ChosenPrompt], texts: Sequence[ChosenText], words: Sequence[str]
) -> None:
    found = {word for one in (*prompts, *texts) for word in one.words}
    for word in words:
        if word not in found:
            raise DataError(
                f"--words {quoted(word)!r} stands in no text and no prompt; give words "
                "as they are written there, or a --text that has them"
            )
