"""Which kinds of runs have a report, and which step draws it?"""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import cast

from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

DrawReport = Callable[[RunDir], StepOutcome]

REPORT_STEPS: Mapping[str, str] = {
    "drift": "reporting:report_step",
    "drift-logs": "logs.reporting:logs_report_step",
    "ablate": "ablating.reporting:ablation_report_step",
    "freeze": "freezing.reporting:freeze_report_step",
    "evaluate": "evaluating.reporting:evaluation_report_step",
    "check-judge": "evaluating.checking:check_report_step",
    "experts": "experts.reporting:experts_report_step",
    "read": "readings.reporting:reading_report_step",
    "read-honesty": "honesty.reporting:honesty_report_step",
    "trace": "tracing.reporting:trace_report_step",
    "trace-compare": "comparing_traces.reporting:compare_report_step",
    "attention": "attention.reporting:attention_report_step",
    "similarity": "similarity.reporting:similarity_report_step",
    "similarity-json": "similarity.reporting:similarity_report_step",
}
"""By the kind that `run.yaml` names; each draws from the run folder alone. Named and
not imported, so that a report waits for the modules of its own kind only."""


def report_step_of(kind: str) -> DrawReport:
    """Find the step that draws the report of a kind of run.

    Args:
        kind: One of `REPORT_STEPS`.
    """
    module, _, name = REPORT_STEPS[kind].partition(":")
    found = import_module(f"driftmap.recipes.steps.{module}")
    return cast(DrawReport, getattr(found, name))
