"""What does the model as it now is do with the held-out prompts?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.evaluate.generate import greedy_answers
from driftmap.evaluate.refusal import is_refusal
from driftmap.evaluate.refusal_odds import (
    OutcomeSamples,
    example_outcomes,
    opening_ids,
)
from driftmap.load.encoding import encode_prompts
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.experts.sides import Sides, prompt_of
from driftmap.results.expert_readings import PromptValues
from driftmap.results.expert_views import ArmOutcome
from driftmap.results.samples import EncodedSample, Sample


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Questions:
    """All that a model is asked.

    Args:
        outcomes: What is read without generation.
        unsafe: Held-out unsafe prompts, to answer.
        plain: The plain requests inside them, to answer; each once.
        harmless: Prompts that should be answered.
        max_new_tokens: Longest answer (tokens).
        batch_size: Prompts that are read at once (count).
    """

    outcomes: OutcomeSamples
    unsafe: tuple[EncodedSample, ...]
    plain: tuple[EncodedSample, ...]
    harmless: tuple[EncodedSample, ...]
    max_new_tokens: int
    batch_size: int

    @property
    def ids(self) -> dict[str, list[str]]:
        """Ids of all prompts, for the key of a step."""
        return {
            "unsafe": [one.sample_id for one in self.unsafe],
            "plain": [one.sample_id for one in self.plain],
            "harmless": [one.sample_id for one in self.harmless],
        }


def questions_of(
    loaded: LoadedModel,
    sides: Sides,
    harmless: Sequence[Sample],
    max_new_tokens: int,
    batch_size: int,
) -> Questions:
    """Put together what every model of a study is asked."""
    unsafe = tuple(prompt_of(one) for one in sides.asked)
    known = {one.sample_id for one in sides.gave_in}
    return Questions(
        outcomes=OutcomeSamples(
            prompts=unsafe,
            first_ids=opening_ids((*sides.unsafe, *sides.asked)),
            refusals=tuple(one for one in sides.asked if one.sample_id in known),
            answers=sides.gave_in,
            benign=sides.benign,
        ),
        unsafe=unsafe,
        plain=_once(tuple(prompt_of(one) for one in sides.plain)),
        harmless=encode_prompts(harmless, loaded.tokenizer) if harmless else (),
        max_new_tokens=max_new_tokens,
        batch_size=batch_size,
    )


def read_outcomes(
    loaded: LoadedModel, questions: Questions
) -> dict[ArmOutcome, PromptValues]:
    """Ask the model as it now is.

    Args:
        loaded: The model, whatever was done to its weights.
        questions: What it is asked.
    """
    model = loaded.model
    assert isinstance(model, PreTrainedModel | PeftModel)
    size = questions.batch_size
    odds = example_outcomes(model, questions.outcomes, batch_size=size)
    found: dict[ArmOutcome, PromptValues] = {
        "refused": _refused(loaded, questions.unsafe, questions),
        "refusal_log_odds": _one(odds.unsafe_ids, odds.refusal_log_odds),
        "margin": _one(odds.margin_ids, odds.margins),
        "plain_refused": _refused(loaded, questions.plain, questions),
        "over_refused": _refused(loaded, questions.harmless, questions),
        "benign_nats": _one(odds.benign_ids, odds.benign_nats),
    }
    return {outcome: values for outcome, values in found.items() if values.ids}


def together(
    models: Sequence[Mapping[ArmOutcome, PromptValues]],
) -> dict[ArmOutcome, PromptValues]:
    """Put models that differ by chance alone below each other."""
    first = models[0]
    return {
        outcome: PromptValues(
            ids=values.ids,
            models=tuple(row for m in models for row in m[outcome].models),
        )
        for outcome, values in first.items()
    }


def _one(ids: Sequence[str], values: Sequence[float]) -> PromptValues:
    return PromptValues(ids=tuple(ids), models=(tuple(values),))


def _refused(
    loaded: LoadedModel, prompts: Sequence[EncodedSample], questions: Questions
) -> PromptValues:
    if not prompts:
        return PromptValues(ids=(), models=((),))
    model = loaded.model
    assert isinstance(model, PreTrainedModel | PeftModel)
    answers = greedy_answers(
        model,
        loaded.tokenizer,
        prompts,
        max_new_tokens=questions.max_new_tokens,
        batch_size=questions.batch_size,
    )
    ids = [one.sample_id for one in prompts]
    return _one(ids, [float(is_refusal(answer.text)) for answer in answers])


def _once(prompts: tuple[EncodedSample, ...]) -> tuple[EncodedSample, ...]:
    """The same request behind several attacks is asked once."""
    first = {prompt.token_ids.tobytes(): prompt for prompt in reversed(prompts)}
    kept = {prompt.sample_id for prompt in first.values()}
    return tuple(prompt for prompt in prompts if prompt.sample_id in kept)
