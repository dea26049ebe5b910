"""How does a study of attention become a report, from its folder alone?"""

from driftmap.recipes.steps.attention.concluding import FINDINGS, FINDINGS_KIND
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.attention_page import attention_page
from driftmap.results.attention_study import AttentionFindings, AttentionStudy
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir


def attention_report(run: RunDir) -> Drawing:
    """What the page on attention is drawn from."""
    of = (run.require("findings"),)
    return Drawing(of=of, page=lambda: attention_page(read_study(run)))


def read_study(run: RunDir) -> AttentionStudy:
    """Gather all that a finished run says."""
    return AttentionStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        findings=load_apart(run.path, FINDINGS, AttentionFindings, FINDINGS_KIND),
        versions=versions_of(run.path),
    )
