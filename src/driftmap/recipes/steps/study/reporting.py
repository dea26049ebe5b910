"""How do the reports of several runs become one?"""

from pathlib import Path

from driftmap.recipes.steps.pages import Drawing
from driftmap.recipes.steps.reports import drawing_of
from driftmap.recipes.steps.study.files import read_study_file
from driftmap.render.joined_page import Part, joined_page
from driftmap.render.page import Page
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def study_report(run: RunDir) -> Drawing:
    """What the page of a whole study is drawn from: the runs that are finished."""
    plan = run.require("plan")
    done = _finished(run)
    return Drawing(
        of=[plan, *done.values()],
        page=lambda: _page(run, list(done)),
        has_pictures=False,  # each run has its own
    )


def _finished(run: RunDir) -> dict[str, StepOutcome]:
    """The report of each finished run, by name, in the order of the study."""
    found = {}
    for planned in read_study_file(run.path).runs:
        folder = run.path / planned.name
        if (folder / "steps" / "report.json").is_file():
            with RunDir.reopen(folder) as inner:
                found[planned.name] = inner.require("report")
    return found


def _page(run: RunDir, names: list[str]) -> Page:
    study = read_study_file(run.path)
    parts = [
        Part(
            name=planned.name,
            command=f"driftmap {planned.kind}",
            report=f"{planned.name}/report.html",
            page=_page_of(run.path / planned.name),
        )
        for planned in study.runs
        if planned.name in names
    ]
    missing = [one.name for one in study.runs if one.name not in names]
    return joined_page(study.title, study.about, parts, missing, study.source)


def _page_of(folder: Path) -> Page:
    with RunDir.reopen(folder) as run:
        return drawing_of(run).page()
