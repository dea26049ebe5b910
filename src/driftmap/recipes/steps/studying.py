"""How does a study go from groups to report, whatever of it was made elsewhere?"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from driftmap.core.places import Site
from driftmap.load.model import LoadedModel
from driftmap.load.training_runs import TrainingRun
from driftmap.recipes.options import FREE, REDOES, StudyPlan
from driftmap.recipes.steps import bench, data, exporting, reports
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import StudyData
from driftmap.recipes.steps.groups import choosing
from driftmap.recipes.steps.groups import foreign as foreign_groups
from driftmap.recipes.steps.inference import concluding
from driftmap.recipes.steps.needs import foreseen
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.rows import StudyRows
from driftmap.recipes.steps.scoring.kept import ScorePlaces
from driftmap.recipes.steps.scoring.shared_halves import SharingHalves
from driftmap.recipes.steps.tuning import foreign as foreign_checkpoints
from driftmap.recipes.steps.tuning import freezing, merging, training
from driftmap.recipes.steps.tuning.starting import start_of_training
from driftmap.store.steps import StepOutcome


def carry_out(
    loaded: LoadedModel,
    read: StudyRows,
    elsewhere: Sequence[TrainingRun],
    plan: StudyPlan,
    settings: Mapping[str, object],
    sharing: SharingHalves | None = None,
) -> Path:
    """Do all phases that are not done yet.

    Args:
        loaded: The model under study.
        read: All rows of the study.
        elsewhere: Training runs that take the place of tuning, if any.
        plan: What is done, and how far.
        settings: The resolved recipe, with its `out` and `seed`.
        sharing: Where samples are scored; None for this process alone.

    Returns:
        The report, or the run folder where the plan stops before it.
    """
    if plan.elsewhere.groups is not None:
        read = replace(read, behaviour=None, utility=None)
    if elsewhere:
        read = replace(read, learnt=None)
        plan = replace(plan, testing=replace(plan.testing, seeds=len(elsewhere)))
    encoded = data.encode_study(loaded, read, plan.scoring)
    out = Path(str(settings["out"]))
    with bench.opened(loaded, out, settings, "drift", FREE, REDOES) as study:
        study.run.note_inputs(read.sources())
        here = encoded if sharing is None else replace(encoded, scored=None)
        foreseen.require_room(study, here, plan)
        return _phases(study, encoded, elsewhere, plan, sharing)


def _phases(
    study: Study,
    data: StudyData,
    elsewhere: Sequence[TrainingRun],
    plan: StudyPlan,
    sharing: SharingHalves | None,
) -> Path:
    mobile = _mobile(study, plan, elsewhere)
    chosen = _groups(study, data, plan, mobile, sharing)
    if sharing is not None:
        sharing.finish()
    if plan.until == "groups":
        return study.run.path
    with start_of_training(study, plan.lora):
        kept = freezing.freeze_step(study, plan.freezing, chosen, mobile)
        return _after_groups(study, data, elsewhere, plan, (chosen, kept))


def _after_groups(
    study: Study,
    data: StudyData,
    elsewhere: Sequence[TrainingRun],
    plan: StudyPlan,
    before: tuple[StepOutcome, freezing.Kept],
) -> Path:
    chosen, kept = before
    live = training.live_drift(study, chosen, kept)
    runs = [
        foreign_checkpoints.checkpoint_step(study, r, n)
        for n, r in enumerate(elsewhere)
    ] or _tune(study, data, plan, (live, kept))
    if plan.output.merged:
        for number, tuned in enumerate(runs):
            merging.merge_step(study, tuned, number)
    if plan.until == "tune":
        return study.run.path
    made = concluding.Tuned(groups=chosen, runs=runs, live=live, kept=kept)
    concluding.conclude(study, made, data.asked, plan)
    if plan.output.export_json:
        exporting.export_step(study, made)
    report = reports.report_step(study.run)
    study.run.drop_outdated()
    return report.path(REPORT)


def _mobile(
    study: Study, plan: StudyPlan, elsewhere: Sequence[TrainingRun]
) -> tuple[Site, ...]:
    """Matrices that training can move, or has moved."""
    if not elsewhere:
        return training.mobile_sites(study, plan.lora)
    foreign_checkpoints.say_ignored(plan.lora)
    return foreign_checkpoints.mobile_sites(study, elsewhere)


def _groups(
    study: Study,
    data: StudyData,
    plan: StudyPlan,
    mobile: Sequence[Site],
    sharing: SharingHalves | None,
) -> StepOutcome:
    if plan.elsewhere.groups is not None:
        return foreign_groups.groups_step(study, plan.elsewhere.groups, mobile)
    assert data.scored is not None, "nothing to score, and no groups"
    places = ScorePlaces(
        keep=plan.output.keep, scratch=plan.output.scratch, sharing=sharing
    )
    return choosing.group_step(
        study, data.scored, plan.scoring, plan.groups, mobile, places
    )


def _tune(
    study: Study,
    data: StudyData,
    plan: StudyPlan,
    beside: tuple[training.LiveDrift, freezing.Kept],
) -> list[StepOutcome]:
    assert data.learnt is not None, "nothing to tune on, and no checkpoints"
    live, kept = beside
    return [
        training.tune_step(study, data.learnt, plan.lora, live, number, kept)
        for number in range(plan.testing.seeds)
    ]
