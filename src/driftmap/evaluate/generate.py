"""What does a model answer, by its first choices or by chance?

Chance is drawn from numbers that belong to one prompt and one answer alone, so that
the prompts of a batch do not share a stream of them: an answer follows from seed,
prompt and number, but for the last digits of the logits.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from peft import PeftModel
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from driftmap.core.errors import UsageError
from driftmap.core.progress import progress
from driftmap.core.seeds import child_seed
from driftmap.evaluate.generators import Decoding
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
    decoding = Decoding(max_new_tokens=max_new_tokens)
    answers = drawn_answers(model, tokenizer, prompts, decoding, batch_size=batch_size)
    return tuple(answer for (answer,) in answers)


def drawn_answers(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[EncodedSample],
    decoding: Decoding,
    *,
    batch_size: int = 16,
    more_ends: Sequence[int] = (),
) -> tuple[tuple[Answer, ...], ...]:
    """Answer every prompt as often as is asked for.

    A draw follows from `decoding.seed`, the prompt's id and the number of the answer,
    whatever stands beside it in its batch.

    Args:
        model: A model, with or without an adapter; it is left as found.
        tokenizer: Turns ids into text and knows the end token.
        prompts: Encoded prompts, ending where the answer starts.
        decoding: How many answers, how long, and at which temperature.
        batch_size: Answers written together.
        more_ends: Ids that end an answer, beside those of `end_ids`.

    Returns:
        Answers of each prompt, in the order of the prompts.

    Raises:
        DataError: There is no prompt, or one has no token.
        UsageError: Several answers are asked for at temperature 0, or the
            temperature is negative.
    """
    _must_make_sense(decoding)
    rows = [(p, n) for p in range(len(prompts)) for n in range(decoding.num_answers)]
    batches = by_length([prompts[place] for place, _ in rows], batch_size)
    base = _without_adapter(model)
    ends = tuple(sorted({*end_ids(model, tokenizer), *more_ends}))
    answers: dict[tuple[int, int], Answer] = {}
    with (
        judged(model),
        _plain_settings(base, ends, decoding.max_new_tokens),
        progress("answer prompts", len(rows)) as bar,
    ):
        for batch in batches:
            some = [rows[number] for number in batch]
            asked = [prompts[place] for place, _ in some]
            chance = _chance(decoding, [(prompts[p].sample_id, n) for p, n in some])
            written = _continue(base, asked, ends, chance)
            for (place, number), ids in zip(some, written, strict=True):
                answers[place, number] = Answer(
                    sample_id=prompts[place].sample_id,
                    text=_text(tokenizer, ids),
                    token_ids=tuple(ids),
                )
            bar.advance(len(batch))
    return tuple(
        tuple(answers[place, number] for number in range(decoding.num_answers))
        for place in range(len(prompts))
    )


def end_ids(
    model: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[int, ...]:
    """Ids that end an answer: those the model names, and the tokenizer's own."""
    base = _without_adapter(model)
    generation = getattr(base, "generation_config", None)
    named = (
        getattr(generation, "eos_token_id", None),
        getattr(base.config, "eos_token_id", None),
        tokenizer.eos_token_id,
    )
    several = [ends if isinstance(ends, list) else [ends] for ends in named]
    return tuple(sorted({end for ends in several for end in ends if type(end) is int}))


def _without_adapter(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    return cast(
        PreTrainedModel,
        model.get_base_model() if isinstance(model, PeftModel) else model,
    )


@contextmanager
def _plain_settings(
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


class _Draws(LogitsProcessor):
    """Leaves one token per row to choose, drawn from the row's own numbers.

    The first choice among the rest is then the draw: one uniform number per token is
    looked up in the cumulative distribution.
    """

    def __init__(
        self, temperature: float, streams: Sequence[np.random.Generator]
    ) -> None:
        self.temperature = temperature
        self.streams = streams

    def __call__(
        self,
        input_ids: Int64[Tensor, "sample token"],
        scores: Float[Tensor, "sample token_id"],
    ) -> Float[Tensor, "sample token_id"]:
        uniform = torch.tensor([stream.random() for stream in self.streams])
        # float64 does not exist on every device; float32 loses rare tokens.
        p = (scores.cpu().double() / self.temperature).softmax(1)
        cumulative = p.cumsum(1)
        wanted = uniform.double()[:, None] * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, wanted, right=True)
        drawn = drawn.clamp(max=p.shape[1] - 1).to(scores.device)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)


def _must_make_sense(decoding: Decoding) -> None:
    if decoding.temperature < 0 or decoding.num_answers < 1:
        raise UsageError(
            f"temperature {decoding.temperature:g} and {decoding.num_answers} answers "
            "a prompt: give 0 or more, and 1 or more"
        )
    if decoding.temperature == 0 and decoding.num_answers > 1:
        raise UsageError(
            f"{decoding.num_answers} answers a prompt at temperature 0 are one answer "
            "repeated; give a temperature above 0"
        )


def _chance(decoding: Decoding, rows: Sequence[tuple[str, int]]) -> LogitsProcessorList:
    """What draws the tokens of rows, each a prompt and the number of its answer."""
    if decoding.temperature == 0:
        return LogitsProcessorList()
    streams = [
        np.random.default_rng(child_seed(decoding.seed, "answer", prompt, number))
        for prompt, number in rows
    ]
    return LogitsProcessorList([_Draws(decoding.temperature, streams)])


def _continue(
    model: PreTrainedModel,
    prompts: Sequence[EncodedSample],
    ends: Sequence[int],
    chance: LogitsProcessorList,
) -> list[list[int]]:
    ids, real = padded(prompts, "left")
    generate = cast(Callable[..., Tensor], model.generate)
    written = generate(
        ids.to(model.device),
        attention_mask=real.to(model.device),
        logits_processor=chance,
    )
    rows = written[:, ids.shape[1] :].tolist()
    return [_until_end(row, ends) for row in rows]


def _until_end(ids: list[int], ends: Sequence[int]) -> list[int]:
    for place, token in enumerate(ids):
        if token in ends:
            return ids[: place + 1]
    return ids


def _text(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return cast(str, tokenizer.decode(ids, skip_special_tokens=True)).strip()
