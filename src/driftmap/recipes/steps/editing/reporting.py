"""How does a study of an edit become a report, from its folder alone?"""

from driftmap.recipes.steps.comparing.attention.changes import read_attention_change
from driftmap.recipes.steps.comparing.edit_files import read_edits
from driftmap.recipes.steps.editing.concluding import FINDINGS, FINDINGS_KIND
from driftmap.recipes.steps.pages import Drawing, flat_settings, versions_of
from driftmap.render.edit_page import edit_page
from driftmap.results.edit_study import EditFindings, EditStudy
from driftmap.results.plain import from_plain
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir


def edit_report(run: RunDir) -> Drawing:
    """What the page on an edit is drawn from."""
    of = (run.require("findings"),)
    return Drawing(of=of, page=lambda: edit_page(read_study(run)))


def read_study(run: RunDir) -> EditStudy:
    """Gather all that a finished run says."""
    found = load_json(run.path / FINDINGS, FINDINGS_KIND)
    return EditStudy(
        settings=flat_settings(load_recipe(run.path).settings),
        findings=from_plain(EditFindings, found),
        edits=read_edits(run),
        attention=read_attention_change(run),
        versions=versions_of(run.path),
    )
