"""How does a study of attention become a report, from its folder alone?"""

from pathlib import Path

import driftmap
from driftmap.recipes.steps.attention.concluding import FINDINGS, FINDINGS_KIND
from driftmap.recipes.steps.pages import flat_settings, versions_of, write_report
from driftmap.render.attention_page import attention_page
from driftmap.results.attention_study import AttentionFindings, AttentionStudy
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def attention_report_step(run: RunDir) -> StepOutcome:
    """Draw `report.html` and `report.txt` of a study of attention."""
    findings = run.require("findings")

    def make(folder: Path) -> None:
        write_report(folder, attention_page(read_study(run)))

    inputs = {
        "of": [findings.key],
        "settings": flat_settings(load_recipe(run.path).settings),
        "driftmap": driftmap.__version__,
    }
    return run.step("report", inputs, make)


def read_study(run: RunDir) -> AttentionStudy:
    """Gather all that a finished run says."""
    return AttentionStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        findings=load_apart(run.path, FINDINGS, AttentionFindings, FINDINGS_KIND),
        versions=versions_of(run.path),
    )
