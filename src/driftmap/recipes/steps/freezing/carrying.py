"""How does the freezing experiment go from groups to report?"""

from collections.abc import Mapping
from pathlib import Path

from driftmap.core.progress import progress, say
from driftmap.load.model import LoadedModel
from driftmap.recipes.freezing_options import FreezePlan
from driftmap.recipes.steps import bench, data
from driftmap.recipes.steps.behaviour.evaluation import base_step
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import StudyData
from driftmap.recipes.steps.freezing.chosen import choose_step
from driftmap.recipes.steps.freezing.concluding import Finished, conclude_step
from driftmap.recipes.steps.freezing.files import ABOUT_FILE
from driftmap.recipes.steps.freezing.parts import control_step
from driftmap.recipes.steps.freezing.planning import FREEZE_FREE, KIND, arms_of
from driftmap.recipes.steps.freezing.reading import read_step
from driftmap.recipes.steps.freezing.rescoring import rescore_step
from driftmap.recipes.steps.freezing.tuning import tune_step
from driftmap.recipes.steps.groups.files import MODEL_KIND
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.rows import StudyRows
from driftmap.recipes.steps.tuning.starting import start_of_training
from driftmap.recipes.steps.tuning.training import mobile_sites
from driftmap.results.plain import to_plain
from driftmap.store.plain import save_json


def carry_out(
    loaded: LoadedModel,
    read: StudyRows,
    plan: FreezePlan,
    settings: Mapping[str, object],
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model under study.
        read: All rows of the study.
        plan: What is done.
        settings: The resolved recipe, with its `out` and `seed`.

    Returns:
        The report.
    """
    encoded = data.encode_study(loaded, read, plan.scoring)
    out = Path(str(settings["out"]))
    with bench.opened(loaded, out, settings, KIND, FREEZE_FREE) as study:
        study.run.note_inputs(read.sources())
        _note_model(study)
        done = _finish(study, encoded, plan)
        conclude_step(study, done, plan, encoded.asked.num_shared)
        return report_step(study.run).path(REPORT)


def _note_model(study: Study) -> None:
    def make(folder: Path) -> None:
        save_json(folder / ABOUT_FILE, to_plain(study.loaded.identity), MODEL_KIND)

    study.run.step("about", {"model": to_plain(study.loaded.identity)}, make)


def _finish(study: Study, encoded: StudyData, plan: FreezePlan) -> Finished:
    """Choose, then tune, read and score again, one training run after another."""
    scored, learnt, asked = encoded.scored, encoded.learnt, encoded.asked
    assert scored is not None, "behaviour and utility are named"
    assert learnt is not None, "what is learnt is named"
    groups = choose_step(study, scored, plan)
    mobile = mobile_sites(study, plan.tuning)
    freezable = control_step(study, groups, mobile, plan)
    arms = arms_of(plan)
    say(f"{len(arms)} training runs, {plan.comparing.seeds} with each part frozen")
    runs, reads, rescored = [], [], []
    with (
        start_of_training(study, plan.tuning),
        progress("training runs", len(arms)) as bar,
    ):
        base = base_step(study, asked, plan.evaluation)
        for arm in arms:
            tuned = tune_step(study, learnt, plan, freezable, arm)
            runs.append(tuned)
            reads.append(read_step(study, asked, plan.evaluation, base, tuned))
            if arm.share in plan.freezing.rescored_shares:
                before = (groups, freezable)
                rescored.append(rescore_step(study, scored, plan, before, tuned))
            bar.advance(1, arm.words)
    return Finished(
        groups=groups,
        freezable=freezable,
        base=base,
        tuned=runs,
        read=reads,
        rescored=rescored,
    )
