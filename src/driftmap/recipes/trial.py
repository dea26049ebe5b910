"""What does `--quick` cap, so that one sees soon whether a study works at all?"""

from dataclasses import Field, replace
from typing import ClassVar, Protocol, TypeVar, runtime_checkable

from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.tune.schedule import total_steps
from driftmap.tune.settings import TuningSettings

TRIAL_SAMPLES = 16
TRIAL_TOKENS = 16
TRIAL_STEPS = 20
"""What a trial run is capped to."""


@runtime_checkable
class Scoring(Protocol):
    """What is needed of a recipe that scores samples and asks the model."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    @property
    def scoring(self) -> ScoringOptions:
        """How weights are scored."""
        ...

    @property
    def evaluation(self) -> EvaluationOptions:
        """What the model is asked."""
        ...


Recipe = TypeVar("Recipe", bound=Scoring)


def capped_recipe(recipe: Recipe) -> Recipe:
    """The same recipe, which scores and asks as little as a trial does."""
    scoring, evaluation = capped(recipe.scoring, recipe.evaluation)
    return replace(recipe, scoring=scoring, evaluation=evaluation)


def capped(
    scoring: ScoringOptions, evaluation: EvaluationOptions
) -> tuple[ScoringOptions, EvaluationOptions]:
    """Score and ask as little as a trial does."""
    return trial_scoring(scoring), trial_evaluation(evaluation)


def trial_scoring(scoring: ScoringOptions) -> ScoringOptions:
    """Score on few samples.

    >>> trial_scoring(ScoringOptions()).num_samples
    16
    """
    return replace(scoring, num_samples=min(scoring.num_samples, TRIAL_SAMPLES))


def trial_evaluation(evaluation: EvaluationOptions) -> EvaluationOptions:
    """Ask few prompts, for short answers."""
    return replace(
        evaluation,
        num_eval_samples=min(evaluation.num_eval_samples, TRIAL_SAMPLES),
        max_new_tokens=min(evaluation.max_new_tokens, TRIAL_TOKENS),
    )


def trial_lora(lora: TuningSettings, num_samples: int) -> TuningSettings:
    """Train for few steps; a run that is as short already keeps its length.

    Args:
        lora: How the model is tuned.
        num_samples: Samples that are learnt.
    """
    if total_steps(num_samples, lora) <= TRIAL_STEPS:
        return lora
    return replace(lora, max_steps=TRIAL_STEPS)
