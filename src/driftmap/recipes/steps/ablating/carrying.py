"""How does an ablation go from groups to report?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.load.encoding import encoded_sha256
from driftmap.load.model import LoadedModel
from driftmap.recipes.ablation_options import OF_WEIGHTS, AblationOptions
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
)
from driftmap.recipes.steps import bench, data
from driftmap.recipes.steps.ablating.arms import Treatment
from driftmap.recipes.steps.ablating.beforehand import ABLATION_FREE, KIND
from driftmap.recipes.steps.ablating.contrasting import contrast_step
from driftmap.recipes.steps.ablating.files import ABOUT_FILE, DIRECTIONS_STEP
from driftmap.recipes.steps.ablating.head_arms import head_treatment
from driftmap.recipes.steps.ablating.rank_arms import (
    Directions,
    rank_treatment,
    save_directions,
)
from driftmap.recipes.steps.ablating.readings import (
    Questions,
    arm_step,
    intact_step,
)
from driftmap.recipes.steps.ablating.saving import save_changed
from driftmap.recipes.steps.ablating.targets import (
    Targets,
    read_targets,
    score_targets,
)
from driftmap.recipes.steps.ablating.weight_arms import weight_treatments
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import StudyData
from driftmap.recipes.steps.groups.files import MODEL_KIND
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.rows import StudyRows
from driftmap.results.plain import to_plain
from driftmap.store.plain import save_json


@dataclass(frozen=True, slots=True, kw_only=True)
class AblationPlan:
    """What is done in an ablation.

    Args:
        ablation: What is taken away, and how.
        scoring: How weights are scored.
        groups: Which of them make a group.
        evaluation: What the model is asked.
    """

    ablation: AblationOptions
    scoring: ScoringOptions
    groups: GroupOptions
    evaluation: EvaluationOptions


def carry_out(
    loaded: LoadedModel,
    read: StudyRows,
    plan: AblationPlan,
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
    with bench.opened(loaded, out, settings, KIND, ABLATION_FREE) as study:
        study.run.note_inputs(read.sources())
        _note_model(study)
        treatments = _treatments(study, encoded, read, plan)
        questions = Questions(asked=encoded.asked, options=plan.evaluation)
        intact = intact_step(study, questions)
        by, shares = plan.ablation.by, plan.ablation.shares
        doses = (by, shares, intact)
        steps = [
            arm_step(study, questions, (treatment, number), arm, doses)
            for number, treatment in enumerate(treatments)
            for arm in treatment.arms
        ]
        abouts = [treatment.about for treatment in treatments]
        contrast_step(study, abouts, by, [intact, *steps], encoded.asked)
        report = report_step(study.run)
        if plan.ablation.save is not None:
            save_changed(study, treatments[0], by, shares[-1], plan.ablation.save)
        return report.path(REPORT)


def _note_model(study: Study) -> None:
    def make(folder: Path) -> None:
        save_json(folder / ABOUT_FILE, to_plain(study.loaded.identity), MODEL_KIND)

    study.run.step("about", {"model": to_plain(study.loaded.identity)}, make)


def _treatments(
    study: Study, encoded: StudyData, read: StudyRows, plan: AblationPlan
) -> Sequence[Treatment]:
    ablation = plan.ablation
    if ablation.by in ("actsvd", "projection"):
        return [_of_directions(study, read, plan)]
    if ablation.by == "heads":
        group = None
        if ablation.heads is None:
            group = _targets(study, encoded, plan).groups[0]
        return [head_treatment(study, group, ablation)]
    assert ablation.by in OF_WEIGHTS
    return weight_treatments(study, _targets(study, encoded, plan), ablation)


def _targets(study: Study, encoded: StudyData, plan: AblationPlan) -> Targets:
    if plan.ablation.group:
        return read_targets(study, plan.ablation.group)
    assert encoded.scored is not None, "nothing to score, and no group"
    return score_targets(study, encoded.scored, plan.scoring, plan.groups)


def _of_directions(study: Study, read: StudyRows, plan: AblationPlan) -> Treatment:
    wanted = [read.behaviour]
    if plan.ablation.by == "projection":
        wanted.append(read.utility)
    encoded = [
        data.scored_samples(study.loaded, rows, plan.scoring)
        for rows in wanted
        if rows is not None
    ]
    names = ("behaviour", "utility")
    sha256 = {n: encoded_sha256(e) for n, e in zip(names, encoded, strict=False)}
    treatment, found = rank_treatment(
        study, (encoded, sha256), plan.ablation, plan.scoring
    )
    _directions_step(study, treatment, found)
    return treatment


def _directions_step(study: Study, treatment: Treatment, found: Directions) -> None:
    inputs = {"model": study.loaded.identity.sha256, **treatment.inputs}
    study.run.step(
        DIRECTIONS_STEP, inputs, lambda folder: save_directions(folder, found)
    )
