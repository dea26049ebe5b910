"""Which kinds of runs have a report, and what is it drawn from?"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from driftmap.recipes.steps.pages import Drawing, draw
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

REPORTS: Mapping[str, str] = {
    "drift": "reporting:drift_report",
    "drift-logs": "logs.reporting:logs_report",
    "ablate": "ablating.reporting:ablation_report",
    "freeze": "freezing.reporting:freeze_report",
    "evaluate": "evaluating.reporting:evaluation_report",
    "check-judge": "evaluating.checking:check_report",
    "experts": "experts.reporting:experts_report",
    "read": "readings.reporting:reading_report",
    "read-honesty": "honesty.reporting:honesty_report",
    "trace": "tracing.reporting:trace_report",
    "trace-compare": "comparing_traces.reporting:profiles_report",
    "attention": "attention.reporting:attention_report",
    "attention-tuned": "comparing.attention.reporting:attention_change_report",
    "edit": "editing.reporting:edit_report",
    "compare": "comparing.reporting:compare_report",
    "similarity": "similarity.reporting:similarity_report",
    "similarity-json": "similarity.reporting:similarity_report",
    "study": "study.reporting:study_report",
}
"""By the kind that `run.yaml` names; each draws from the run folder alone. Named and
not imported, so that a report waits for the modules of its own kind only."""


def report_step(run: RunDir) -> StepOutcome:
    """Draw the report of a run, unless it is there.

    Args:
        run: A run of one of the kinds in `REPORTS`.

    Raises:
        StoreError: A step that the report shows is not finished.
    """
    return draw(run, drawing_of(run))


def drawing_of(run: RunDir) -> Drawing:
    """Find what the report of a run is drawn from.

    Args:
        run: A run of one of the kinds in `REPORTS`.

    Raises:
        StoreError: A step that the report shows is not finished.
    """
    module, _, name = REPORTS[load_recipe(run.path).kind].partition(":")
    found = import_module(f"driftmap.recipes.steps.{module}")
    return cast(Callable[[RunDir], Drawing], getattr(found, name))(run)
