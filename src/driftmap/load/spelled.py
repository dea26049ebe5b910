"""Which characters of a text does each token stand for, spaces and all?

Every character belongs to a token: spaces that a tokenizer counts to none belong to
the token after them. What the tokenizer puts before any text is context; without such
a token the first word is, as nothing predicts it.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError
from driftmap.core.quoted import quoted
from driftmap.load.templates import AS_USUAL, Opening, render_prompt
from driftmap.load.token_offsets import tokens_of
from driftmap.results.readings import SpelledText
from driftmap.results.samples import Message, Sample

_HALF = "\ufffd"
"""What a decoder writes for bytes that are no whole character."""

_ANCHOR = 8
"""Tokens before an answer that its first token is decoded with: some decoders drop the
space of a text's first word."""


def spell(name: str, text: str, tokenizer: PreTrainedTokenizerBase) -> SpelledText:
    """Turn a running text into tokens.

    Args:
        name: What the report calls it.
        text: All of it; one that begins with the BOS token gets no second one.
        tokenizer: The model's.

    Raises:
        DataError: The text is empty, or one token that nothing stands before.
        ModelError: The tokenizer cannot tell which characters a token stands for.
    """
    _require_text(name, text)
    spelled = _spelled(name, text, tokenizer, is_complete=False)
    if spelled.token_ids.size <= spelled.num_context:
        raise DataError(
            f"{name}: {quoted(text)} is one token and nothing stands before it; give "
            "a longer text"
        )
    return spelled


def spell_prompt(
    name: str,
    prompt: str,
    tokenizer: PreTrainedTokenizerBase,
    opening: Opening = AS_USUAL,
) -> SpelledText:
    """Turn a prompt into tokens, by the chat template where the tokenizer has one.

    Args:
        name: What the report calls it.
        prompt: What the model is asked, or goes on from.
        tokenizer: The model's.
        opening: How the prompt is put.

    Returns:
        The prompt, all of it context.

    Raises:
        DataError: The prompt is empty, or the template refuses it.
        ModelError: As `spell`.
    """
    _require_text(name, prompt)
    role = "user"
    if not tokenizer.chat_template or opening.template == "bare":
        role = "text"
    sample = Sample(
        id=name, original_id=name, messages=(Message(role=role, content=prompt),)
    )
    rendered = render_prompt(sample, tokenizer, opening)
    return _spelled(
        name, rendered.text, tokenizer, is_complete=rendered.complete, is_prompt=True
    )


def spell_answer(
    prompt: SpelledText,
    token_ids: Int64[np.ndarray, " token"],
    tokenizer: PreTrainedTokenizerBase,
) -> SpelledText:
    """Put what a model wrote after its prompt, special tokens shown as they are.

    Args:
        prompt: The prompt alone.
        token_ids: Prompt and answer.
        tokenizer: The model's.

    Returns:
        Both as one text; the prompt is context.
    """
    num_prompt = prompt.token_ids.size
    first = max(0, num_prompt - _ANCHOR)
    before = len(_decoded(token_ids[first:num_prompt], tokenizer))
    ends = []
    for past in range(num_prompt + 1, token_ids.size + 1):
        shown = _decoded(token_ids[first:past], tokenizer)
        ends.append(max(0, len(shown.rstrip(_HALF)) - before))
    answer = _decoded(token_ids[first:], tokenizer)[before:]
    ends = [min(end, len(answer)) for end in ends]
    if ends:
        ends[-1] = len(answer)
    return SpelledText(
        name=prompt.name,
        text=prompt.text + answer,
        token_ids=token_ids.astype(np.int64),
        spans=np.concatenate([prompt.spans, len(prompt.text) + _whole_spans(ends)]),
        num_context=num_prompt,
        has_begin=prompt.has_begin,
    )


def _spelled(
    name: str,
    text: str,
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_complete: bool,
    is_prompt: bool = False,
) -> SpelledText:
    tokens = tokens_of(text, tokenizer, is_complete=is_complete)
    ids = np.array(tokens.ids, np.int64)
    spans = np.array(tokens.offsets, np.int64).reshape(-1, 2)
    special = set(tokenizer.all_special_ids)
    num_begin = 0
    while num_begin < ids.size and int(ids[num_begin]) in special:
        num_begin += 1
        if spans[num_begin - 1, 1] > spans[num_begin - 1, 0]:
            break  # written in the text: the first one begins it, others are read
    return SpelledText(
        name=name,
        text=text,
        token_ids=ids,
        spans=_closed(spans, len(text)),
        num_context=ids.size if is_prompt else max(1, num_begin),
        has_begin=num_begin > 0,
    )


def _closed(
    spans: Int64[np.ndarray, "token 2"], length: int
) -> Int64[np.ndarray, "token 2"]:
    """Spans without gaps between them: what lies in one belongs to the next token."""
    closed = spans.copy()
    reached = 0
    for number, (start, stop) in enumerate(spans.tolist()):
        if stop <= start:
            # A token of spaces alone may be said to be empty, at its own end.
            start = stop = max(reached, stop)
        closed[number] = min(start, reached), stop
        reached = max(reached, stop)
    if len(closed) and reached < length:
        closed[-1, 1] = length
    return closed


def _whole_spans(ends: Sequence[int]) -> Int64[np.ndarray, "token 2"]:
    """Spans of tokens that reach so far; pieces of a character share its span."""
    spans = []
    start = 0
    for number, end in enumerate(ends):
        whole = next((later for later in ends[number:] if later > start), end)
        spans.append((start, max(start, whole)))
        start = max(start, end)
    return np.array(spans, np.int64).reshape(-1, 2)


def _decoded(
    ids: Int64[np.ndarray, " token"], tokenizer: PreTrainedTokenizerBase
) -> str:
    return str(tokenizer.decode(ids.tolist(), clean_up_tokenization_spaces=False))


def _require_text(name: str, text: str) -> None:
    if not text:
        raise DataError(f"{name}: it is empty; give some text to read")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{name}: character {error.start} of its text is half of a surrogate pair "
            "and stands for nothing; write the text again as UTF-8"
        ) from error
