"""How does a run of traces become a report, from its folder alone?"""

from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.trace_page import trace_page
from driftmap.results.trace_study import TraceFindings, TraceStudy
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir

FINDINGS = "findings"
FINDINGS_KIND = "driftmap.trace"


def trace_report(run: RunDir) -> Drawing:
    """What the page on traces is drawn from."""
    of = (run.require(FINDINGS),)
    return Drawing(of=of, page=lambda: trace_page(read_study(run)))


def read_study(run: RunDir) -> TraceStudy:
    """Gather all that a run says."""
    return TraceStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
        findings=load_apart(run.path, FINDINGS, TraceFindings, FINDINGS_KIND),
    )
