"""Which token ids does a model see for a sample, and which of them count?

The response is found by character offsets in the rendered text, never by the length
of a prompt tokenised on its own: many tokenizers merge across the border. A token that
straddles a border counts as the response's, at its start and at its end alike: no other
token holds those characters. At its start that needs more than a space: `:▁` before a
response that begins with a space is the template's, `▁Yes` the response's.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError, ModelError
from driftmap.core.progress import say
from driftmap.load.formats.pretokenised import MASKED
from driftmap.load.templates import (
    AS_USUAL,
    Opening,
    Rendered,
    is_running_text,
    render,
    render_prompt,
)
from driftmap.results.samples import EncodedSample, Message, Sample, TokenRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How samples become tokens."""

    positions: Literal["response", "labels", "all"] = "response"
    """Tokens that count: the response's, or all but each sample's first one."""

    max_length: int | None = None
    """Longest sample in tokens; the model's context by default."""

    learn_end: bool = False
    """Count the end-of-sequence token too, adding it where the template has none."""

    turn_end: bool = False
    """Count the first special token that the template writes after the response too:
    end of turn or of sequence. None is added."""


def encode(
    samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase, settings: Encoding
) -> tuple[EncodedSample, ...]:
    """Turn samples with responses into token ids and a mask of loss terms.

    A response that runs past `max_length` is cut there, and the number of cut samples
    is said once; its end is then not learnt. `response` and `labels` have the same
    loss terms and differ only in the input positions that measures read.

    Args:
        samples: Prompts with responses; running text with `positions="all"`.
        tokenizer: The model's, with character offsets (a "fast" one).
        settings: Which tokens count, how many there may be.

    Returns:
        One per sample, in order. Running text has `prompt_length` 0.

    Raises:
        DataError: A sample has no response, counts nowhere, does not fit into
            `max_length` or speaks of ids that the vocabulary lacks.
        ModelError: The tokenizer has no offsets, or no end token to learn.
    """
    _check_tokenizer(samples, tokenizer)
    _check_end(tokenizer, settings)
    encoded = []
    num_cut = 0
    for sample in samples:
        whole = _encode_one(sample, tokenizer, settings)
        encoded.append(_cut(whole, settings.max_length))
        num_cut += len(encoded[-1].token_ids) < len(whole.token_ids)
    if num_cut:
        say(
            f"{num_cut} of {len(encoded)} samples are longer than "
            f"{settings.max_length} tokens and were cut there"
        )
    return tuple(encoded)


def encode_prompts(
    samples: Sequence[Sample],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int | None = None,
    opening: Opening = AS_USUAL,
) -> tuple[EncodedSample, ...]:
    """Turn prompts into token ids up to where the model goes on.

    An answer that a sample holds is left out. Of a pretokenised row the tokens before
    its first label are the prompt.

    Args:
        samples: Prompts, with or without responses, or running text to continue.
        tokenizer: The model's, with character offsets (a "fast" one).
        max_length: Longest prompt in tokens.
        opening: How prompts are put, and what answers begin with.

    Returns:
        One per sample, in order; no token counts.

    Raises:
        DataError: A prompt does not fit into `max_length`, or comes as tokens and
            cannot be put in another way.
        ModelError: The tokenizer has no offsets.
    """
    _check_tokenizer(samples, tokenizer)
    encoded = []
    for sample in samples:
        ids = _prompt_ids(sample, tokenizer, opening)
        if max_length is not None and len(ids) > max_length:
            raise _too_long(sample.id, len(ids), max_length)
        encoded.append(_encoded(sample.id, ids, counted=(0, 0), prompt_length=len(ids)))
    return tuple(encoded)


def turn_ends(
    tokenizer: PreTrainedTokenizerBase, question: str = "Why?"
) -> tuple[int, ...]:
    """Id of the special token that a tokenizer's template ends an answer with.

    Args:
        tokenizer: With the template that is used.
        question: Any question that the template takes.

    Returns:
        The id; none where the template writes no special token there, or is none.
    """
    turns = (
        Message(role="user", content=question),
        Message(role="assistant", content="So."),
    )
    rendered = render(Sample(id="", original_id="", messages=turns), tokenizer)
    ids, offsets = _tokenise(rendered, tokenizer)
    return tuple(ids[k] for k in _turn_end(ids, offsets, rendered, tokenizer))


def encoded_sha256(*sets: Sequence[EncodedSample]) -> str:
    """Hash what a model is really fed: it follows tokenizer and chat template too.

    Args:
        sets: Encoded samples; their order counts.

    Returns:
        64 hexadecimal digits over ids, tokens, counted tokens and prompt lengths.

    >>> encoded_sha256([]) == encoded_sha256([], [])
    False
    """
    digest = hashlib.sha256()
    for encoded in sets:
        digest.update(f"{len(encoded)}\n".encode())
        for one in encoded:
            head = [one.sample_id, len(one.token_ids), one.prompt_length]
            digest.update(json.dumps(head).encode() + b"\n")
            digest.update(one.token_ids.astype("<i4").tobytes())
            digest.update(one.counted.astype("u1").tobytes())
    return digest.hexdigest()


def _check_tokenizer(
    samples: Sequence[Sample], tokenizer: PreTrainedTokenizerBase
) -> None:
    """Refuse one without offsets, unless every sample brings tokens of its own."""
    if tokenizer.is_fast or all(sample.tokens is not None for sample in samples):
        return
    raise ModelError(
        f"{tokenizer.name_or_path}: its tokenizer ({type(tokenizer).__name__}) does "
        "not tell which characters a token stands for, by which the response is found; "
        "give it a tokenizer.json, or give every sample as `input_ids` and `labels`",
        topic="tokenizer-without-offsets",
    )


def _check_end(tokenizer: PreTrainedTokenizerBase, settings: Encoding) -> None:
    if settings.learn_end and tokenizer.eos_token_id is None:
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer has no end-of-sequence token to "
            "learn; set `eos_token` in tokenizer_config.json"
        )


def _encode_one(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, settings: Encoding
) -> EncodedSample:
    if sample.tokens is not None:
        return _from_token_row(sample, sample.tokens, tokenizer, settings)
    _check_sample(sample, settings)
    rendered = render(sample, tokenizer)
    ids, offsets = _tokenise(rendered, tokenizer)
    first, stop = _token_span(offsets, rendered)
    if first == stop:
        raise DataError(f"{sample.id}: its response has no tokens; leave the row out")
    if settings.learn_end:
        ids, stop = _with_end(ids, offsets, rendered, tokenizer)
    counted = (first, stop)
    if settings.positions == "all":
        counted = (0, len(ids))
    running = is_running_text(sample)
    encoded = _encoded(
        sample.id, ids, counted=counted, prompt_length=0 if running else first
    )
    if settings.turn_end:
        encoded.counted[_turn_end(ids, offsets, rendered, tokenizer)] = True
    return _must_count(encoded)


def _check_sample(sample: Sample, settings: Encoding) -> None:
    if is_running_text(sample):
        if settings.positions != "all":
            raise DataError(
                f"{sample.id}: running text has no response; use --positions all, or "
                "give `prompt` and `response`"
            )
        return
    if not sample.messages or sample.messages[-1].role != "assistant":
        raise DataError(
            f"{sample.id}: it asks but has no response, which scoring and tuning need; "
            "add a `response`"
        )
    if not sample.response.strip():
        raise DataError(f"{sample.id}: its response is empty; leave the row out")


def _from_token_row(
    sample: Sample,
    row: TokenRow,
    tokenizer: PreTrainedTokenizerBase,
    settings: Encoding,
) -> EncodedSample:
    ids = _checked_ids(sample.id, row, tokenizer)
    labelled = np.array(row.labels) != MASKED
    counted = np.ones(len(ids), bool) if settings.positions == "all" else labelled
    counted[0] = False
    encoded = EncodedSample(
        sample_id=sample.id,
        token_ids=np.array(ids, np.int32),
        counted=counted,
        prompt_length=int(labelled.argmax()) if labelled.any() else len(ids),
    )
    return _must_count(encoded)


def _checked_ids(
    sample_id: str, row: TokenRow, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    size = len(tokenizer)
    for index, token_id in enumerate(row.token_ids):
        if not 0 <= token_id < size:
            raise DataError(
                f"{sample_id}: id {token_id} at token {index} lies outside the "
                f"vocabulary of {size}; were the ids made by another tokenizer?"
            )
    return list(row.token_ids)


def _prompt_ids(
    sample: Sample, tokenizer: PreTrainedTokenizerBase, opening: Opening
) -> list[int]:
    if sample.tokens is not None:
        if opening != AS_USUAL:
            raise DataError(
                f"{sample.id}: it comes as tokens, so no template can be left out and "
                "no words can be put into the answer; give it as text"
            )
        ids = _checked_ids(sample.id, sample.tokens, tokenizer)
        labelled = [label != MASKED for label in sample.tokens.labels]
        return ids[: labelled.index(True)] if True in labelled else ids
    rendered = render_prompt(sample, tokenizer, opening)
    ids, offsets = _tokenise(rendered, tokenizer)
    added_end = ids and ids[-1] == tokenizer.eos_token_id and not offsets[-1].any()
    return ids[:-1] if added_end and len(ids) > 1 else ids


def _tokenise(
    rendered: Rendered, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], np.ndarray]:
    tokens = tokenizer(
        rendered.text,
        add_special_tokens=not rendered.complete,
        return_offsets_mapping=True,
        verbose=False,
    )
    offsets = np.array(tokens["offset_mapping"], np.int64).reshape(-1, 2)
    return list(tokens["input_ids"]), offsets


def _token_span(
    offsets: np.ndarray, rendered: Rendered, stop: int | None = None
) -> tuple[int, int]:
    """First token of the response, and one past its last.

    Byte-level tokenizers report a token of spaces as an empty interval; it reaches
    back to the end of the token before it. Added special tokens lie at (0, 0).

    Args:
        offsets: First character of each token and one past its last.
        rendered: The text.
        stop: One past the last character; that of the response by default.
    """
    start, stop = rendered.start, rendered.stop if stop is None else stop
    begins, ends = offsets[:, 0], offsets[:, 1]
    previous_end = np.concatenate([[0], ends[:-1]])
    begins = np.where(begins == ends, np.minimum(previous_end, begins), begins)
    inside = np.flatnonzero((ends > start) & (begins < stop)).tolist()
    while inside and begins[inside[0]] < start:
        if rendered.text[start : ends[inside[0]]].strip():
            break
        inside = inside[1:]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)


def _turn_end(
    ids: list[int],
    offsets: np.ndarray,
    rendered: Rendered,
    tokenizer: PreTrainedTokenizerBase,
) -> list[int]:
    """Place of the first special token after the response; none where there is none."""
    added = tokenizer.added_tokens_decoder
    special = [number for number, token in added.items() if token.special]
    ends = [*special, tokenizer.eos_token_id]
    after = np.flatnonzero(offsets[:, 0] >= rendered.stop).tolist()
    return [place for place in after if ids[place] in ends][:1]


def _with_end(
    ids: list[int],
    offsets: np.ndarray,
    rendered: Rendered,
    tokenizer: PreTrainedTokenizerBase,
) -> tuple[list[int], int]:
    """Ids that end the response, and one past the last token to learn.

    The template's own end token is learnt where it writes one after the response.
    Otherwise one is added at the very end, and what the template writes in between
    (Gemma's end of turn, say) is learnt with it.
    """
    end = str(tokenizer.eos_token)
    at = rendered.text.find(end, rendered.stop)
    if at >= 0:
        return ids, _token_span(offsets, rendered, at + len(end))[1]
    if ids[-1] != tokenizer.eos_token_id:
        assert isinstance(tokenizer.eos_token_id, int)
        ids = [*ids, tokenizer.eos_token_id]
    return ids, len(ids)


def _encoded(
    sample_id: str, ids: list[int], *, counted: tuple[int, int], prompt_length: int
) -> EncodedSample:
    mask = np.zeros(len(ids), bool)
    mask[slice(*counted)] = True
    mask[:1] = False  # nothing predicts the first token
    return EncodedSample(
        sample_id=sample_id,
        token_ids=np.array(ids, np.int32),
        counted=mask,
        prompt_length=prompt_length,
    )


def _cut(encoded: EncodedSample, max_length: int | None) -> EncodedSample:
    if max_length is None or len(encoded.token_ids) <= max_length:
        return encoded
    if encoded.prompt_length >= max_length or not encoded.counted[:max_length].any():
        raise _too_long(encoded.sample_id, encoded.prompt_length, max_length)
    return EncodedSample(
        sample_id=encoded.sample_id,
        token_ids=encoded.token_ids[:max_length],
        counted=encoded.counted[:max_length],
        prompt_length=encoded.prompt_length,
    )


def _too_long(sample_id: str, num_tokens: int, max_length: int) -> DataError:
    return DataError(
        f"{sample_id}: its prompt has {num_tokens} tokens and leaves no room within "
        f"{max_length}, the most that are read at once; shorten it or leave the row out"
    )


def _must_count(encoded: EncodedSample) -> EncodedSample:
    if not encoded.counted.any():
        raise DataError(
            f"{encoded.sample_id}: none of its {len(encoded.token_ids)} tokens counts "
            "in the loss (all are masked, or it is one token long); leave the row out"
        )
    return encoded
