"""How does what two models look at become a report, from its folder alone?"""

from driftmap.recipes.steps.comparing.attention.changes import CHANGE, CHANGE_KIND
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.attention_change_page import attention_change_page
from driftmap.render.page import Page
from driftmap.results.attention_change import AttentionChange
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir


def attention_change_report(run: RunDir) -> Drawing:
    """What the page on two models' attention is drawn from."""
    return Drawing(of=(run.require(CHANGE),), page=lambda: _page(run))


def _page(run: RunDir) -> Page:
    return attention_change_page(
        load_apart(run.path, CHANGE, AttentionChange, CHANGE_KIND),
        flat_settings(load_recipe(run.path).settings),
        versions_of(run.path),
    )
