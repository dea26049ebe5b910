"""Which kinds of runs have a report, and which step draws it?"""

from collections.abc import Callable, Mapping

from driftmap.recipes.steps.ablating.reporting import ablation_report_step
from driftmap.recipes.steps.evaluating.checking import check_report_step
from driftmap.recipes.steps.evaluating.reporting import evaluation_report_step
from driftmap.recipes.steps.freezing.reporting import freeze_report_step
from driftmap.recipes.steps.logs.reporting import logs_report_step
from driftmap.recipes.steps.reporting import report_step
from driftmap.recipes.steps.similarity.reporting import similarity_report_step
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

REPORT_STEPS: Mapping[str, Callable[[RunDir], StepOutcome]] = {
    "drift": report_step,
    "drift-logs": logs_report_step,
    "ablate": ablation_report_step,
    "freeze": freeze_report_step,
    "evaluate": evaluation_report_step,
    "check-judge": check_report_step,
    "similarity": similarity_report_step,
    "similarity-json": similarity_report_step,
}
"""By the kind that `run.yaml` names; each draws from the run folder alone."""
