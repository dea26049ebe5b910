"""What does a model answer when it always takes its first choice?"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

from peft import PeftModel
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from driftmap.core.progress import progress
from driftmap.evaluate.prompts import by_length, judged, padded
from driftmap.results.behaviour import Answer
from driftmap.results.samples import EncodedSample


def greedy_answers(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[EncodedSample],
    *,
    max_new_tokens: int = 64,
    batch_size: int = 16,
) -> tuple[Answer, ...]:
    """Answer every prompt greedily.

    The model's own generation settings (temperature, penalties) play no part; only
    its end tokens do. Prompts of like length share a batch. Padding and another
    device change the last digits of the logits, so a near tie of two tokens may flip
    an answer.

    Args:
        model: A model, with or without an adapter; it is left as found.
        tokenizer: Turns ids into text and knows the end token.
        prompts: Encoded prompts, ending where the answer starts.
        max_new_tokens: Longest answer, in tokens.
        batch_size: Prompts answered together.

    Returns:
        One answer per prompt, in the order of the prompts.

    Raises:
        DataError: There is no prompt, or one has no token.
    """
    batches = by_length(prompts, batch_size)
    base = cast(
        PreTrainedModel,
        model.get_base_model() if isinstance(model, PeftModel) else model,
    )
    ends = end_ids(base, tokenizer)
    answers: dict[int, Answer] = {}
    with (
        judged(model),
        _plainly_greedy(base, ends, max_new_tokens),
        progress("answer prompts", len(prompts)) as bar,
    ):
        for batch in batches:
            some = [prompts[number] for number in batch]
            for number, ids in zip(batch, _continue(base, some, ends), strict=True):
                answers[number] = Answer(
                    sample_id=prompts[number].sample_id,
                    text=_text(tokenizer, ids),
                    token_ids=tuple(ids),
                )
            bar.advance(len(batch))
    return tuple(answers[number] for number in range(len(prompts)))


def end_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, ...]:
    """Ids that end an answer: those the model names, and the tokenizer's own."""
    generation = getattr(model, "generation_config", None)
    named = (
        getattr(generation, "eos_token_id", None),
        getattr(model.config, "eos_token_id", None),
        tokenizer.eos_token_id,
    )
    several = [ends if isinstance(ends, list) else [ends] for ends in named]
    return tuple(sorted({end for ends in several for end in ends if type(end) is int}))


@contextmanager
def _plainly_greedy(
    model: PreTrainedModel, ends: Sequence[int], max_new_tokens: int
) -> Iterator[None]:
    """Replace the model's generation settings, which would fill every gap in ours."""
    found = model.generation_config
    model.generation_config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=list(ends) or None,
        pad_token_id=ends[0] if ends else 0,
        use_cache=True,
    )
    try:
        yield
    finally:
        model.generation_config = found


def _continue(
    model: PreTrainedModel, prompts: Sequence[EncodedSample], ends: Sequence[int]
) -> list[list[int]]:
    ids, real = padded(prompts, "left")
    generate = cast(Callable[..., Tensor], model.generate)
    written = generate(ids.to(model.device), attention_mask=real.to(model.device))
    rows = written[:, ids.shape[1] :].tolist()
    return [_until_end(row, ends) for row in rows]


def _until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return cast(str, tokenizer.decode(ids, skip_special_tokens=True)).strip()
