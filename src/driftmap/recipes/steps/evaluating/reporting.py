"""How does an evaluation become a report, from its folder alone?"""

from collections.abc import Mapping

from driftmap.recipes.steps.evaluating.concluding import (
    ANSWERS,
    RESULT_FILE,
    RESULT_KIND,
)
from driftmap.recipes.steps.evaluating.useful import STEP, load_usefulness
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.evaluate_page import evaluation_page
from driftmap.render.evaluate_utility import (
    utility_page,
    utility_sections,
    utility_sentence,
)
from driftmap.render.page import Page
from driftmap.results.evaluation import EvaluationResult, EvaluationStudy
from driftmap.results.plain import from_plain
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table


def evaluation_report(run: RunDir) -> Drawing:
    """What the page on an evaluation is drawn from."""
    parts = [name for name in ("statistics", STEP) if run.is_finished(name)]
    # Where neither is there, the error is about the first.
    read = {name: run.require(name) for name in parts or ("statistics",)}
    return Drawing(of=tuple(read.values()), page=lambda: _page(run, read))


def _page(run: RunDir, read: Mapping[str, StepOutcome]) -> Page:
    useful = load_usefulness(read[STEP]) if STEP in read else None
    if "statistics" in read:
        study = read_evaluation(run, read["statistics"])
        if useful is None:
            return evaluation_page(study)
        return evaluation_page(
            study, utility_sentence(useful), utility_sections(useful)
        )
    assert useful is not None
    return utility_page(useful, _settings(run))


def read_evaluation(run: RunDir, statistics: StepOutcome) -> EvaluationStudy:
    """Gather all that an evaluation says.

    Args:
        run: The run.
        statistics: Its step with all numbers.
    """
    plain = load_json(statistics.path(RESULT_FILE), RESULT_KIND)
    return EvaluationStudy(
        result=from_plain(EvaluationResult, plain),
        answers=load_table(statistics.path(ANSWERS)),
        settings=_settings(run),
    )


def _settings(run: RunDir) -> dict[str, str]:
    settings = flat_settings(load_recipe(run.path).settings)
    said = {n: _said(v) for n, v in settings.items() if v not in (None, [], False)}
    return said | versions_of(run.path)


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
