"""In which order is attention read, cut off and told?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftmap.load.model import LoadedModel
from driftmap.recipes.attention_options import (
    FREE,
    REDOES,
    EffectOptions,
    PromptOptions,
    RowOptions,
)
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.attention.concluding import findings_step
from driftmap.recipes.steps.attention.cutting import effects_step
from driftmap.recipes.steps.attention.preparing import prepare
from driftmap.recipes.steps.attention.reading import read_step
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.tracing.reading import ReadFacts

KIND = "attention"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPlan:
    """What is asked of a study of attention.

    Args:
        prompts: Which prompts, and where their subjects are.
        rows: Which rows are read.
        effects: What is cut and traced.
    """

    prompts: PromptOptions
    rows: RowOptions
    effects: EffectOptions


def carry_out(
    loaded: LoadedModel,
    read: ReadFacts,
    plan: AttentionPlan,
    settings: Mapping[str, object],
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model.
        read: The prompts.
        plan: What is asked.
        settings: The resolved recipe.

    Returns:
        The report.

    Raises:
        DataError: A prompt cannot be read.
        FamilyError: The model's attention cannot be.
    """
    prepared = prepare(loaded, read.facts, plan.prompts)
    out = Path(str(settings["out"]))
    with bench.opened(loaded, out, settings, KIND, FREE, REDOES) as study:
        if read.sha256:
            study.run.note_inputs({"facts": read.sha256})
        rows = read_step(study, prepared, plan.rows)
        effects = effects_step(study, prepared, plan.effects)
        findings_step(study, rows, effects)
        return report_step(study.run).path(REPORT)
