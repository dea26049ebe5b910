"""How do honesty readings become a report, from their folder alone?"""

from driftmap.recipes.steps.honesty.files import load_result, load_texts
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.honesty_page import honesty_page
from driftmap.results.honesty_study import HonestyFindings, HonestyStudy
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def honesty_report(run: RunDir) -> Drawing:
    """What the page on honesty readings is drawn from."""
    statistics, texts = run.require("statistics"), run.require("texts")
    return Drawing(
        of=(statistics, texts),
        page=lambda: honesty_page(read_honesty(run, statistics, texts)),
    )


def read_honesty(
    run: RunDir, statistics: StepOutcome, texts: StepOutcome
) -> HonestyStudy:
    """Gather all that a study of honesty readings says.

    Args:
        run: The run.
        statistics: Its step with all numbers.
        texts: Its step with token scores.
    """
    model, result, verdict, cautions = load_result(statistics)
    return HonestyStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
        findings=HonestyFindings(
            model=model,
            result=result,
            texts=load_texts(texts).texts,
            verdict=verdict,
            cautions=cautions,
        ),
    )
