"""How does a run of an ablation become a report, from its folder alone?"""

from driftmap.recipes.steps.ablating.files import (
    ABLATION_KIND,
    ABOUT_FILE,
    DIRECTIONS,
    DIRECTIONS_STEP,
    DOSES,
    EXAMPLES,
    STATISTICS_FILE,
)
from driftmap.recipes.steps.groups.files import MODEL_KIND
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.ablate_page import ablate_page
from driftmap.results.ablation import AblationStatistics, AblationStudy
from driftmap.results.plain import from_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table


def ablation_report(run: RunDir) -> Drawing:
    """What the page on an ablation is drawn from."""
    steps = [run.require("about"), run.require("contrasts")]
    if run.is_finished(DIRECTIONS_STEP):
        steps.append(run.require(DIRECTIONS_STEP))
    return Drawing(of=steps, page=lambda: ablate_page(read_ablation(run, *steps)))


def read_ablation(
    run: RunDir,
    about: StepOutcome,
    contrasts: StepOutcome,
    directions: StepOutcome | None = None,
) -> AblationStudy:
    """Gather all that a run of an ablation says.

    Args:
        run: The run.
        about: Its step that noted the model.
        contrasts: Its step that compared.
        directions: Its step that found directions, in runs that take any.
    """
    statistics = load_json(contrasts.path(STATISTICS_FILE), ABLATION_KIND)
    model = load_json(about.path(ABOUT_FILE), MODEL_KIND)
    return AblationStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        model=from_plain(ModelIdentity, model),
        statistics=from_plain(AblationStatistics, statistics),
        doses=load_table(contrasts.path(DOSES)),
        examples=load_table(contrasts.path(EXAMPLES)),
        versions=versions_of(run.path),
        directions=directions and load_table(directions.path(DIRECTIONS)),
    )
