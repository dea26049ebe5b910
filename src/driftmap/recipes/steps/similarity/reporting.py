"""How does a study of similar samples become a report, from its folder alone?"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.recipes.steps.similarity import analysing, beside, told
from driftmap.render.similarity_page import similarity_page
from driftmap.results.similarity_study import MeasureStudy, SimilarityStudy
from driftmap.stats.sample_sets import describe_sets
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def similarity_report(run: RunDir) -> Drawing:
    """What the page on similar samples is drawn from."""
    statistics = run.require(analysing.STEP)
    samples = _samples(run)
    return Drawing(
        of=(statistics, *((samples,) if samples else ())),
        page=lambda: similarity_page(read_similarity(run, statistics, samples)),
    )


def read_similarity(
    run: RunDir, statistics: StepOutcome, samples: StepOutcome | None
) -> SimilarityStudy:
    """Gather all that a finished run says.

    Args:
        run: The run.
        statistics: Its step with all numbers.
        samples: Its step with samples and model; None where others computed the
            products.
    """
    settings = flat_settings(load_recipe(run.path).settings)
    measures = analysing.load_studies(statistics.path(analysing.RESULT_FILE))
    study = SimilarityStudy(
        measures=measures,
        settings=settings,
        versions=versions_of(run.path),
        comparison=beside.compared(run.path, measures, settings),
    )
    if samples is None:
        return study
    read, model = told.load_samples(samples)
    return replace(
        study,
        model=model,
        sets=describe_sets(read),
        texts=told.texts_of(read, shown_ids(study.measures)),
    )


def _samples(run: RunDir) -> StepOutcome | None:
    known = load_recipe(run.path).kind == "similarity"
    return run.require(told.STEP) if known else None


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
