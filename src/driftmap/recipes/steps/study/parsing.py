"""Which recipe does a run of a study stand for?

The parser of the command line reads it, so that a study, a saved recipe and the words
a person types know the same options, defaults and mistakes.
"""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Protocol, runtime_checkable

from cyclopts import App, CycloptsError, Parameter

from driftmap.core.errors import UsageError
from driftmap.recipes.saved import option_words
from driftmap.recipes.steps.study.files import PlannedRun, StudyFile

KINDS: Mapping[str, str] = {
    "drift": "drift:Drift",
    "drift-logs": "drift_logs:DriftLogs",
    "score": "score:Score",
    "similarity": "similarity:Similarity",
    "similarity-json": "similarity_json:SimilarityJson",
    "experts": "experts:Experts",
    "read": "read:Read",
    "read-honesty": "read_honesty:ReadHonesty",
    "trace": "trace:Trace",
    "trace-compare": "trace_compare:TraceCompare",
    "attention": "attention:Attention",
    "attention-tuned": "attention_tuned:AttentionTuned",
    "evaluate": "evaluate:Evaluate",
    "check-judge": "check_judge:CheckJudge",
    "ablate": "ablate:Ablate",
    "freeze": "freeze:Freeze",
    "edit": "edit:Edit",
    "compare": "compare:Compare",
}
"""Recipes that leave a run folder, by the kind that `run.yaml` names. Named and not
imported, so that a study waits for its own recipes only."""


@runtime_checkable
class Recipe(Protocol):
    """A study that is ready to run."""

    def run(self) -> Path | str:
        """Do the work; give what a person should open or read."""
        ...


def recipe_of(
    study: StudyFile, run: PlannedRun, options: Mapping[str, object], out: Path
) -> Recipe:
    """Build the recipe of one run.

    Args:
        study: The study.
        run: One of its runs.
        options: Its options, with paths in place of what stands for them.
        out: Its run folder.

    Raises:
        UsageError: There is no such recipe, or it has no such option.
    """
    if run.kind not in KINDS:
        raise UsageError(
            f"{study.file}: run `{run.name}` is of kind `{run.kind}`; known are "
            f"{', '.join(KINDS)}"
        )
    module, _, name = KINDS[run.kind].partition(":")
    kind = getattr(import_module(f"driftmap.recipes.{module}"), name)
    reader = App(
        name="driftmap",
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        default_parameter=Parameter(negative_iterable=()),
    )
    reader.command(kind, name=run.kind)
    words = option_words(study.file, {**options, "out": str(out)})
    try:
        recipe = reader([run.kind, *(word for one in words.values() for word in one)])
    except CycloptsError as error:
        said = " ".join(str(error).split()).rstrip(".")
        raise UsageError(f"{study.file}: run `{run.name}`: {said}") from error
    assert isinstance(recipe, Recipe), run.kind
    return recipe
