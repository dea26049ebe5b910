"""How does a run of the experiment become a report, from its folder alone?"""

from driftmap.recipes.steps.freezing.files import (
    ABOUT_FILE,
    CURVE,
    EXAMPLES,
    FREEZE_KIND,
    OVERLAP,
    STATISTICS_FILE,
)
from driftmap.recipes.steps.groups.files import MODEL_KIND
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.freeze_page import freeze_page
from driftmap.results.freeze_study import FreezeStatistics, FreezeStudy
from driftmap.results.plain import from_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.results.table import Table
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table


def freeze_report(run: RunDir) -> Drawing:
    """What the page on an experiment with freezing is drawn from."""
    about, found = run.require("about"), run.require("statistics")
    return Drawing(
        of=(about, found),
        page=lambda: freeze_page(read_freeze_study(run, about, found)),
    )


def read_freeze_study(
    run: RunDir, about: StepOutcome, found: StepOutcome
) -> FreezeStudy:
    """Gather all that a run of an experiment says.

    Args:
        run: The run.
        about: Its step that noted the model.
        found: Its step that concluded.
    """
    statistics = load_json(found.path(STATISTICS_FILE), FREEZE_KIND)
    model = load_json(about.path(ABOUT_FILE), MODEL_KIND)
    has_overlap = OVERLAP in found.files
    return FreezeStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        model=from_plain(ModelIdentity, model),
        statistics=from_plain(FreezeStatistics, statistics),
        curve=load_table(found.path(CURVE)),
        overlap=load_table(found.path(OVERLAP)) if has_overlap else Table(columns={}),
        examples=load_table(found.path(EXAMPLES)),
        versions=versions_of(run.path),
    )
