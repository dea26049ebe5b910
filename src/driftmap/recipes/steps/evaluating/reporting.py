"""How does an evaluation become a report, from its folder alone?"""

from pathlib import Path

import driftmap
from driftmap.recipes.steps.evaluating.concluding import (
    ANSWERS,
    RESULT_FILE,
    RESULT_KIND,
)
from driftmap.recipes.steps.pages import flat_settings, versions_of, write_report
from driftmap.render.evaluate_page import evaluation_page
from driftmap.results.evaluation import EvaluationResult, EvaluationStudy
from driftmap.results.plain import from_plain
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table


def evaluation_report_step(run: RunDir) -> StepOutcome:
    """Draw `report.html` and `report.txt` of an evaluation."""
    statistics = run.require("statistics")

    def make(folder: Path) -> None:
        write_report(folder, evaluation_page(read_evaluation(run, statistics)))

    inputs = {"of": [statistics.key], "driftmap": driftmap.__version__}
    return run.step("report", inputs, make)


def read_evaluation(run: RunDir, statistics: StepOutcome) -> EvaluationStudy:
    """Gather all that an evaluation says.

    Args:
        run: The run.
        statistics: Its step with all numbers.
    """
    plain = load_json(statistics.path(RESULT_FILE), RESULT_KIND)
    settings = flat_settings(load_recipe(run.path).settings)
    said = {n: _said(v) for n, v in settings.items() if v not in (None, [], False)}
    return EvaluationStudy(
        result=from_plain(EvaluationResult, plain),
        answers=load_table(statistics.path(ANSWERS)),
        settings=said | versions_of(run.path),
    )


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
