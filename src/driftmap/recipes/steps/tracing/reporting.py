"""How does a run of traces become a report, from its folder alone?"""

from pathlib import Path

import driftmap
from driftmap.recipes.steps.pages import flat_settings, versions_of, write_report
from driftmap.render.trace_page import trace_page
from driftmap.results.trace_study import TraceFindings, TraceStudy
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

FINDINGS = "findings"
FINDINGS_KIND = "driftmap.trace"


def trace_report_step(run: RunDir) -> StepOutcome:
    """Draw `report.html`, `report.txt` and the pictures of traces."""
    step = run.require(FINDINGS)

    def make(folder: Path) -> None:
        write_report(folder, trace_page(read_study(run)))

    inputs = {
        "of": step.key,
        "settings": flat_settings(load_recipe(run.path).settings),
        "driftmap": driftmap.__version__,
    }
    return run.step("report", inputs, make)


def read_study(run: RunDir) -> TraceStudy:
    """Gather all that a run says."""
    return TraceStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
        findings=load_apart(run.path, FINDINGS, TraceFindings, FINDINGS_KIND),
    )
