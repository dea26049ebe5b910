"""How does a run of a comparison of traces become a report, from its folder alone?"""

from pathlib import Path

import driftmap
from driftmap.recipes.steps.pages import flat_settings, versions_of, write_report
from driftmap.render.profiles_page import profiles_page
from driftmap.results.trace_comparison import CompareReport, TraceComparison
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

FINDINGS = "findings"
FINDINGS_KIND = "driftmap.trace_comparison"


def compare_report_step(run: RunDir) -> StepOutcome:
    """Draw `report.html`, `report.txt` and the pictures of a comparison of traces."""
    step = run.require("findings")

    def make(folder: Path) -> None:
        write_report(folder, profiles_page(read_comparison(run)))

    inputs = {
        "of": step.key,
        "settings": flat_settings(load_recipe(run.path).settings),
        "driftmap": driftmap.__version__,
    }
    return run.step("report", inputs, make)


def read_comparison(run: RunDir) -> CompareReport:
    """Gather all that a run says."""
    return CompareReport(
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
        comparison=load_apart(run.path, FINDINGS, TraceComparison, FINDINGS_KIND),
    )
