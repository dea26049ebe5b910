"""How does a run of a study of experts become a report, from its folder alone?"""

from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.experts_page import experts_page
from driftmap.results.expert_study import ExpertFindings, ExpertStudy
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir

FINDINGS = "findings"
FINDINGS_KIND = "driftmap.experts"


def experts_report(run: RunDir) -> Drawing:
    """What the page on a study of experts is drawn from."""
    of = (run.require(FINDINGS),)
    return Drawing(of=of, page=lambda: experts_page(read_experts(run)))


def read_experts(run: RunDir) -> ExpertStudy:
    """Gather all that a run says."""
    return ExpertStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
        findings=load_apart(run.path, FINDINGS, ExpertFindings, FINDINGS_KIND),
    )
