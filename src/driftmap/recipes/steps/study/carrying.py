"""In which order are the recipes of a study done?

Each has a run folder inside that of the study and goes on there after a kill; a step
that two of them share is done once.
"""

from collections.abc import Sequence
from pathlib import Path

from driftmap.recipes.steps.logbook import logged
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.study.doing import do_runs
from driftmap.recipes.steps.study.files import PlannedRun, StudyFile
from driftmap.recipes.steps.study.parsing import recipe_of
from driftmap.recipes.steps.study.places import require_places
from driftmap.store.beside import STUDY
from driftmap.store.plain import save_json
from driftmap.store.run_dir import RunDir

_MAY_CHANGE = ("title", "about", "source", "runs")
"""Every run looks after its own settings."""


def carry_out(
    study: StudyFile, chosen: Sequence[PlannedRun], out: Path, at_once: int
) -> Path:
    """Do all runs that are not done yet, and draw one report of those that are.

    Args:
        study: The study.
        chosen: Runs to do, in order.
        out: The study's folder.
        at_once: Runs that are done at a time, in a process each.

    Returns:
        The report.

    Raises:
        UsageError: A run names what is not there, or is no recipe.
    """
    require_places(study, chosen)
    for run in chosen:  # what cannot be run is said before anything is
        recipe_of(study, run, run.options, out / run.name)
    settings = _settings(study)
    with RunDir.open(out, settings, STUDY, free=_MAY_CHANGE) as folder:
        with logged(out, STUDY):
            folder.step("plan", settings, lambda to: _write_plan(to, study))
        do_runs(study, chosen, out, at_once)
        return report_step(folder).path(REPORT)


def _settings(study: StudyFile) -> dict[str, object]:
    """What a study's folder remembers: enough to be read as a study file again."""
    return {
        "title": study.title,
        "about": study.about,
        "source": study.source,
        "seed": study.seed,
        "runs": {run.name: {"kind": run.kind, **run.options} for run in study.runs},
    }


def _write_plan(folder: Path, study: StudyFile) -> None:
    save_json(folder / "plan.json", {"runs": [r.name for r in study.runs]}, "plan")
