"""What does a model answer to requests, and is it right on held-out samples?"""

from collections.abc import Sequence
from typing import TypeAlias, cast

from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.shortage import explained
from driftmap.evaluate.accuracy import held_out_accuracy
from driftmap.evaluate.generate import greedy_answers
from driftmap.evaluate.refusal import is_refusal
from driftmap.load.answers import room_after
from driftmap.load.model import LoadedModel
from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.bench import batches_of
from driftmap.results.behaviour import AccuracyReading, Answer
from driftmap.results.behaviour_change import AnswerPair, HeldOutPair
from driftmap.results.samples import EncodedSample

Model: TypeAlias = PreTrainedModel | PeftModel

REMEDY = "repeat with a smaller --batch-size"


def answers_of(
    loaded: LoadedModel, prompts: Sequence[EncodedSample], options: BehaviourOptions
) -> tuple[Answer, ...]:
    """Let a model answer greedily; nothing where there is nothing to answer."""
    if not prompts:
        return ()
    room = room_after(prompts, options.max_new_tokens, loaded.context_length)
    with explained("answering requests", REMEDY):
        return greedy_answers(
            cast(Model, loaded.model),
            loaded.tokenizer,
            prompts,
            max_new_tokens=room,
            batch_size=options.batch_size,
        )


def accuracy_of(
    loaded: LoadedModel, samples: Sequence[EncodedSample], options: BehaviourOptions
) -> tuple[AccuracyReading, ...]:
    """Whether a model is right on samples; nothing where there are none."""
    if not samples:
        return ()
    with explained("reading held-out samples", REMEDY):
        batches = batches_of(loaded, samples, options.batch_size)
        return held_out_accuracy(cast(Model, loaded.model), batches)


def paired_answers(
    before: Sequence[Answer], after: Sequence[Answer], words: Sequence[str]
) -> tuple[AnswerPair, ...]:
    """Answers of both models beside each other, judged by their phrases.

    Args:
        before: The base's.
        after: The tuned model's, in the same order.
        words: What each request says, likewise: two files may share their ids.
    """
    return tuple(
        AnswerPair(
            sample_id=one.sample_id,
            prompt=prompt,
            before=one.text,
            after=other.text,
            refused_before=is_refusal(one.text),
            refused_after=is_refusal(other.text),
        )
        for one, other, prompt in zip(before, after, words, strict=True)
    )


def paired_accuracy(
    before: Sequence[AccuracyReading], after: Sequence[AccuracyReading]
) -> tuple[HeldOutPair, ...]:
    """Readings of both models beside each other, in the same order."""
    return tuple(
        HeldOutPair(
            sample_id=one.sample_id,
            right_before=one.right,
            right_after=other.right,
            nll_before=one.nll_nats,
            nll_after=other.nll_nats,
        )
        for one, other in zip(before, after, strict=True)
    )
