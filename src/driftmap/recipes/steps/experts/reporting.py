"""How does a run of a study of experts become a report, from its folder alone?"""

from pathlib import Path

import driftmap
from driftmap.recipes.steps.pages import flat_settings, versions_of, write_report
from driftmap.render.experts_page import experts_page
from driftmap.results.expert_study import ExpertFindings, ExpertStudy
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

FINDINGS = "findings"
FINDINGS_KIND = "driftmap.experts"


def experts_report_step(run: RunDir) -> StepOutcome:
    """Draw `report.html`, `report.txt` and the pictures of a study of experts."""
    step = run.require("findings")

    def make(folder: Path) -> None:
        write_report(folder, experts_page(read_experts(run)))

    inputs = {
        "of": step.key,
        "settings": flat_settings(load_recipe(run.path).settings),
        "driftmap": driftmap.__version__,
    }
    return run.step("report", inputs, make)


def read_experts(run: RunDir) -> ExpertStudy:
    """Gather all that a run says."""
    return ExpertStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
        findings=load_apart(run.path, FINDINGS, ExpertFindings, FINDINGS_KIND),
    )
