"""Which tokens are a fact's subject, and which its answer, in any tokenizer?

The subject is found by the characters that its tokens stand for: decoding token by
token, as published code does, loses the spaces of some tokenizers and the bytes of
others. The answer is read off prompt and answer as one text, since many tokenizers
join what stands at a border.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.quoted import quoted
from driftmap.load.token_offsets import Tokens, tokens_of
from driftmap.results.facts import EncodedFact, Fact

Occurrence = int | Literal["last"]
"""Which of several places a subject has in its prompt, from 1."""

_WITHOUT_SPACES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_OPENING = "([{«“‘\u300c\u300e"
_MOST_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Locating:
    """How a subject is found in its prompt.

    Args:
        occurrence: Which place counts where it has several; None refuses these.
        ignore_case: Take `rome` for `Rome`.
        subject_tokens: First token and one past the last, instead of looking.
        guess: Take the last capitalised words where no subject is given.
    """

    occurrence: Occurrence | None = None
    ignore_case: bool = False
    subject_tokens: tuple[int, int] | None = None
    guess: bool = False


EXACTLY_ONCE = Locating()
"""The subject stands in the prompt once, as it is written."""


def encode_fact(
    fact: Fact,
    tokenizer: PreTrainedTokenizerBase,
    *,
    occurrence: Occurrence | None = None,
    subject_tokens: tuple[int, int] | None = None,
    ignore_case: bool = False,
    guess: bool = False,
) -> EncodedFact:
    """Turn a fact into the tokens of one model.

    Args:
        fact: In words.
        tokenizer: The model's; one without character offsets is read by the lengths
            of what its first tokens decode to.
        occurrence: Which place of the subject counts where it has several; None
            refuses these.
        subject_tokens: First token and one past the last, instead of looking.
        ignore_case: Take `rome` for `Rome`.
        guess: Take the last capitalised words where no subject is given.

    Returns:
        The fact as tokens; what the tokenizer puts after a text is left out.

    Raises:
        DataError: The subject is absent, ambiguous or empty, the prompt has no token,
            or the prompt's tokens change when the answer follows it.
    """
    locating = Locating(
        occurrence=occurrence,
        ignore_case=ignore_case,
        subject_tokens=subject_tokens,
        guess=guess,
    )
    tokens = tokens_of(fact.prompt, tokenizer)
    if not any(start < stop for start, stop in tokens.offsets):
        raise DataError(f"{fact.id}: its prompt has no tokens; write one")
    subject = subject_span(fact, tokens, locating)
    answer = _continuation(fact, fact.answer, tokens, tokenizer)
    foil = _continuation(fact, fact.foil, tokens, tokenizer)
    if foil and foil == answer:
        raise DataError(
            f"{fact.id}: answer and foil are both {quoted(str(fact.answer))!r}; give "
            "two that differ"
        )
    return EncodedFact(
        fact=fact,
        token_ids=np.array([*tokens.ids, *answer[:-1]], np.int32),
        num_prompt=len(tokens.ids),
        subject=subject,
        answer_ids=answer,
        foil_ids=foil,
        tokens=tokens.texts,
        offsets=tokens.offsets,
    )


def subject_span(
    fact: Fact, tokens: Tokens, locating: Locating = EXACTLY_ONCE
) -> tuple[int, int]:
    """Find the tokens of a subject: those that share a character with it.

    Args:
        fact: The fact.
        tokens: Its prompt's.
        locating: How it is found.

    Returns:
        First token and one past the last.

    Raises:
        DataError: It is absent, ambiguous or empty; the tokens are shown.
    """
    if locating.subject_tokens is not None:
        return _as_told(fact, tokens, locating.subject_tokens)
    start, stop = _characters(fact, tokens, locating)
    found = [
        number
        for number, (first, end) in enumerate(tokens.offsets)
        if fact.prompt[max(first, start) : min(end, stop)].strip()
    ]
    if not found:
        raise _refusal(fact, tokens, "is in no token of it")
    return found[0], found[-1] + 1  # spaces inside it may be tokens of their own


def require_apart(encoded: EncodedFact) -> None:
    """Refuse an answer and a foil that are compared by a first token they share.

    Raises:
        DataError: They do.
    """
    answer, foil = encoded.answer_ids, encoded.foil_ids
    if answer and foil and answer[0] == foil[0]:
        raise DataError(
            f"{encoded.fact.id}: answer {quoted(str(encoded.fact.answer))!r} and foil "
            f"{quoted(str(encoded.fact.foil))!r} begin with the same token, so that "
            "comparing first tokens says nothing; choose another foil, or "
            "--outcome prob"
        )


def continuation(
    name: str,
    prompt: str,
    answer: str,
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[int, ...]:
    """Find the ids of an answer, where the prompt's own stay as they are.

    Args:
        name: What errors call the prompt.
        prompt: The text up to the answer.
        answer: Without the space before it.
        tokens: The prompt's.
        tokenizer: The model's.

    Raises:
        DataError: The prompt's tokens change, or the answer has none.
    """
    whole = tokens_of(joined(prompt, answer), tokenizer)
    size = len(tokens.ids)
    if whole.ids[:size] == tokens.ids and len(whole.ids) > size:
        return whole.ids[size:]
    raise DataError(
        f"{name}: with {quoted(answer)!r} after it, the prompt's last tokens change "
        f"from {_shown(tokens.texts[-3:])} to {_shown(whole.texts[-6:])}; end the "
        "prompt elsewhere, without a space"
    )


def joined(prompt: str, answer: str) -> str:
    """Write an answer after its prompt, with a space where the script has spaces.

    >>> joined("The capital of France is", "Paris"), joined("法国的首都是", "巴黎")
    ('The capital of France is Paris', '法国的首都是巴黎')
    """
    last = prompt[-1:]
    is_bare = not last or last.isspace() or last in _OPENING
    is_unspaced = _has_no_spaces(last) and _has_no_spaces(answer[:1])
    return prompt + ("" if is_bare or is_unspaced else " ") + answer


def _has_no_spaces(character: str) -> bool:
    """Whether a character's script writes words without spaces between them."""
    name = unicodedata.name(character, "") if character else ""
    return name.startswith(_WITHOUT_SPACES)


def _continuation(
    fact: Fact,
    answer: str | None,
    tokens: Tokens,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[int, ...]:
    if answer is None:
        return ()
    return continuation(fact.id, fact.prompt, answer, tokens, tokenizer)


def _as_told(
    fact: Fact, tokens: Tokens, subject_tokens: tuple[int, int]
) -> tuple[int, int]:
    start, stop = subject_tokens
    size = len(tokens.ids)
    if not 0 <= start < stop <= size:
        raise DataError(
            f"{fact.id}: --subject-tokens {start}:{stop} is no range within its {size} "
            f"tokens {_numbered(tokens.texts)}; give first:end with 0 <= first < end "
            f"<= {size}"
        )
    if not any(first < end for first, end in tokens.offsets[start:stop]):
        raise DataError(
            f"{fact.id}: --subject-tokens {start}:{stop} holds none of the prompt's "
            f"characters; its tokens are {_numbered(tokens.texts)}"
        )
    return start, stop


def _characters(fact: Fact, tokens: Tokens, locating: Locating) -> tuple[int, int]:
    if not fact.subject.strip():
        return _guessed(fact, tokens, locating)
    found = occurrences(fact.prompt, fact.subject, ignore_case=locating.ignore_case)
    if not found:
        other = occurrences(fact.prompt, fact.subject, ignore_case=True)
        raise _refusal(
            fact,
            tokens,
            "is in the text only in another case" if other else "is not in the text",
            "--ignore-case" if other else "",
        )
    which = locating.occurrence
    if which is None and len(found) > 1:
        raise _refusal(
            fact,
            tokens,
            f"is there {len(found)} times",
            f"--occurrence 1 to {len(found)} or last",
        )
    if which is None or which == "last":
        return found[-1]
    if not 1 <= which <= len(found):
        raise _refusal(fact, tokens, f"has no occurrence {which}, only {len(found)}")
    return found[which - 1]


def occurrences(
    text: str, subject: str, *, ignore_case: bool = False
) -> list[tuple[int, int]]:
    """Find all places of a subject, as characters.

    Whole words count alone where there are any: `Ana` is in `Banana and Ana` once.

    >>> occurrences("Banana and Ana", "Ana"), occurrences("Banana", "ana")
    ([(11, 14)], [(1, 4), (3, 6)])
    """
    sought, within = _alike(text, subject.strip(), ignore_case=ignore_case)
    found = [
        (match.start(), match.start() + len(sought))
        for match in re.finditer(f"(?={re.escape(sought)})", within)
    ]
    whole = [one for one in found if _is_whole(text, *one)]
    return whole or found


def _alike(text: str, subject: str, *, ignore_case: bool) -> tuple[str, str]:
    if not ignore_case:
        return subject, text
    # Letter by letter: what grows when its case is folded would move all that follows.
    return _folded(subject), _folded(text)


def _folded(text: str) -> str:
    return "".join(
        letter.casefold() if len(letter.casefold()) == 1 else letter for letter in text
    )


def _is_whole(text: str, start: int, stop: int) -> bool:
    """Whether no letter goes on before or after it."""
    before, after = text[start - 1 : start] if start else "", text[stop : stop + 1]
    return not (before.isalnum() or after.isalnum())


def _guessed(fact: Fact, tokens: Tokens, locating: Locating) -> tuple[int, int]:
    if not locating.guess:
        raise _refusal(fact, tokens, "is empty", "--guess-subject")
    named = _capitalised(fact.prompt)
    if not named:
        raise _refusal(
            fact,
            tokens,
            "cannot be guessed, since no word begins with a capital",
        )
    say(
        f"{fact.id}: the subject is guessed to be "
        f"{quoted(fact.prompt[slice(*named[-1])])!r}, the last capitalised words; give "
        "--subject to be sure"
    )
    return named[-1]


def _capitalised(text: str) -> list[tuple[int, int]]:
    """Runs of neighbouring words that begin with a capital."""
    runs: list[tuple[int, int]] = []
    for word in re.finditer(r"\w[\w'’-]*", text):
        if not word[0][0].isupper():
            continue
        if runs and not text[runs[-1][1] : word.start()].strip():
            runs[-1] = (runs[-1][0], word.end())
        else:
            runs.append(word.span())
    return runs


def _refusal(fact: Fact, tokens: Tokens, found: str, hint: str = "") -> DataError:
    named = f" {quoted(fact.subject)!r}" if fact.subject.strip() else ""
    passed = f"{hint}, --subject" if hint else "--subject"
    return DataError(
        f"{fact.id}: subject{named} {found}; pass {passed} or --subject-tokens "
        f"first:end, by the numbers of its tokens {_numbered(tokens.texts)}"
    )


def _numbered(texts: Sequence[str]) -> str:
    """Tokens with their numbers, as errors show them."""
    shown = [f"{number}:{quoted(text)}" for number, text in enumerate(texts)]
    if len(shown) > _MOST_SHOWN:
        shown[_MOST_SHOWN:] = [f"and {len(shown) - _MOST_SHOWN} more"]
    return f"[{' '.join(shown)}]"


def _shown(texts: Sequence[str]) -> str:
    return f"[{'|'.join(map(quoted, texts))}]"
