"""How does a run of a comparison of traces become a report, from its folder alone?"""

from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.profiles_page import profiles_page
from driftmap.results.trace_comparison import CompareReport, TraceComparison
from driftmap.store.arrays_apart import load_apart
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir

FINDINGS = "findings"
FINDINGS_KIND = "driftmap.trace_comparison"


def profiles_report(run: RunDir) -> Drawing:
    """What the page on a comparison of traces is drawn from."""
    of = (run.require(FINDINGS),)
    return Drawing(of=of, page=lambda: profiles_page(read_comparison(run)))


def read_comparison(run: RunDir) -> CompareReport:
    """Gather all that a run says."""
    return CompareReport(
        settings=flat_settings(load_recipe(run.path).settings),
        versions=versions_of(run.path),
        comparison=load_apart(run.path, FINDINGS, TraceComparison, FINDINGS_KIND),
    )
