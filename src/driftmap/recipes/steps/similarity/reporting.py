"""How does a study of similar samples become a report, from its folder alone?"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import driftmap
from driftmap.recipes.steps.pages import flat_settings, versions_of, write_report
from driftmap.recipes.steps.similarity import analysing, describing
from driftmap.render.similarity_page import similarity_page
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy
from driftmap.stats.sample_sets import describe_sets
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def similarity_report_step(run: RunDir) -> StepOutcome:
    """Draw `report.html`, `report.txt` and the pictures."""
    samples = run.require(describing.STEP)
    statistics = run.require(analysing.STEP)

    def make(folder: Path) -> None:
        write_report(folder, similarity_page(read_similarity(run, samples, statistics)))

    inputs = {
        "of": [samples.key, statistics.key],
        "settings": flat_settings(load_recipe(run.path).settings),
        "driftmap": driftmap.__version__,
    }
    return run.step("report", inputs, make)


def read_similarity(
    run: RunDir, samples: StepOutcome, statistics: StepOutcome
) -> SimilarityStudy:
    """Gather all that a finished run says.

    Args:
        run: The run.
        samples: Its step with samples and model.
        statistics: Its step with all numbers.
    """
    read, model = describing.load_samples(samples)
    measures = analysing.load_studies(statistics)
    settings = flat_settings(load_recipe(run.path).settings)
    return SimilarityStudy(
        measures=measures,
        settings=settings,
        versions=versions_of(run.path),
        model=model,
        sets=describe_sets(read),
        texts=describing.texts_of(read, shown_ids(measures)),
    )


def shown_ids(measures: Sequence[MeasureStudy]) -> Iterator[str]:
    """Ids of the samples that a page may show."""
    for measure in measures:
        for of_set in measure.study.sets:
            for wrong in of_set.wrong:
                yield from (wrong.query, wrong.original, wrong.chosen)
            for odd in of_set.odd:
                yield odd.query
                yield from (profile.original for profile in odd.profiles)
            yield from (hub.original for hub in of_set.hubs)
            yield from (query.original for query in of_set.queries)
