"""Which tokens does an answer have after a prompt, whatever the prompt is about?

Prompt and answer are tokenised as one text, so that what stands at the border is as
the model would read it, and nothing is put before the answer but its space.
"""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError
from driftmap.load.spans import continuation
from driftmap.load.token_offsets import Tokens, tokens_of
from driftmap.results.samples import EncodedSample


def encode_answer(
    name: str, prompt: str, answer: str, tokenizer: PreTrainedTokenizerBase
) -> EncodedSample:
    """Turn a prompt and its answer into tokens, of which the answer's count.

    Args:
        name: What errors call the prompt.
        prompt: The text up to the answer.
        answer: Without the space before it.
        tokenizer: The model's.

    Raises:
        DataError: The prompt has no token, or its tokens change when the answer
            follows it.
    """
    tokens = _tokens(name, prompt, tokenizer)
    answer_ids = continuation(name, prompt, answer, tokens, tokenizer)
    size = len(tokens.ids)
    ids = np.array([*tokens.ids, *answer_ids], np.int32)
    return EncodedSample(
        sample_id=name,
        token_ids=ids,
        counted=np.arange(ids.size) >= size,
        prompt_length=size,
    )


def encode_beginning(
    name: str, prompt: str, tokenizer: PreTrainedTokenizerBase
) -> EncodedSample:
    """Turn a prompt into tokens up to where the model goes on; none counts.

    Raises:
        DataError: The prompt has no token.
    """
    ids = np.array(_tokens(name, prompt, tokenizer).ids, np.int32)
    return EncodedSample(
        sample_id=name,
        token_ids=ids,
        counted=np.zeros(ids.size, bool),
        prompt_length=ids.size,
    )


def room_after(
    prompts: Sequence[EncodedSample], most: int, context_length: int | None
) -> int:
    """How many tokens fit behind the longest prompt: at most `most`, at least 1.

    Args:
        prompts: What is gone on from, at least one.
        most: Tokens that are wanted (count).
        context_length: Tokens that the model reads at once; None without a limit.
    """
    if context_length is None:
        return most
    longest = max(one.token_ids.size for one in prompts)
    return max(1, min(most, context_length - longest))


def _tokens(name: str, prompt: str, tokenizer: PreTrainedTokenizerBase) -> Tokens:
    tokens = tokens_of(prompt, tokenizer)
    if not tokens.ids:
        raise DataError(f"{name}: its prompt has no tokens; write one")
    return tokens
