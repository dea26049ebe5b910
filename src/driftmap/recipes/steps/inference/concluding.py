"""What follows from the training runs: how far did groups move, what did it change?"""

from collections.abc import Sequence
from dataclasses import dataclass

from driftmap.recipes.options import StudyPlan
from driftmap.recipes.steps.behaviour import changes, evaluation
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import EvaluationData
from driftmap.recipes.steps.groups.choosing import load_groups
from driftmap.recipes.steps.groups.files import AGREEMENT_FILE
from driftmap.recipes.steps.inference import drifting, testing
from driftmap.recipes.steps.tuning.freezing import ALL_MOVE, Kept
from driftmap.recipes.steps.tuning.training import LiveDrift
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tuned:
    """What tuning leaves to be looked at.

    Args:
        groups: The step that chose the groups.
        runs: The step of every training run.
        live: Drift as it was measured on the way.
        kept: What could not move.
    """

    groups: StepOutcome
    runs: Sequence[StepOutcome]
    live: LiveDrift
    kept: Kept = ALL_MOVE


def conclude(
    study: Study,
    tuned: Tuned,
    asked: EvaluationData,
    plan: StudyPlan,
) -> None:
    """Write the tables of drift and behaviour, and `statistics.json`.

    Args:
        study: Folder, model and seed.
        tuned: Groups and training runs.
        asked: What the model is evaluated on.
        plan: How it answers, and how chance is measured.
    """
    drift = drifting.drift_step(study, tuned.runs, tuned.live)
    judged = evaluation.all_steps(study, asked, plan.evaluation, tuned.runs)
    changes.behaviour_step(study, judged)
    findings = testing.Findings(
        groups=load_groups(study, tuned.groups),
        tuned=tuned.runs,
        drift=drift,
        behaviours=changes.behaviour_changes(judged, study.seed),
        num_shared=asked.num_shared,
        agreement=load_table(tuned.groups.path(AGREEMENT_FILE)),
        is_trial=plan.is_trial,
        kept=tuned.kept,
    )
    testing.statistics_step(study, findings, plan.testing)
