"""In which order are facts taught, and both models asked?"""

import hashlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from driftmap.core.progress import say
from driftmap.families.quantised import four_bit
from driftmap.load.model import LoadedModel
from driftmap.recipes.attention_change_options import AttentionChangeOptions
from driftmap.recipes.compare_options import ProbeOptions
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.edit_options import (
    AnswerOptions,
    EditTuningOptions,
    TaughtOptions,
)
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.attention.changes import attention_step
from driftmap.recipes.steps.comparing.edits import (
    check_edits,
    edit_context,
    edits_step,
)
from driftmap.recipes.steps.comparing.probing import texts_for
from driftmap.recipes.steps.editing.concluding import findings_step
from driftmap.recipes.steps.editing.models import (
    Made,
    model_step,
    point_step,
    read_model,
)
from driftmap.recipes.steps.editing.planning import EditArm, planned
from driftmap.recipes.steps.editing.reading import ReadTaught
from driftmap.recipes.steps.editing.rows import PreparedRows, prepare_rows
from driftmap.recipes.steps.editing.training import taught_pair, teach_step
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.results.edits import EditContext
from driftmap.store.steps import StepOutcome

KIND = "edit"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPlan:
    """What is asked of a study of an edit.

    Args:
        taught: Which facts, and as which rows.
        tuning: How they are taught.
        answers: What both models write.
        attention: What is read of where they look.
        measures: What they are asked about facts.
        texts: Texts whose attention is shown; none for the first fact's sentences.
        free: Settings that may change within a run.
    """

    taught: TaughtOptions
    tuning: EditTuningOptions
    answers: AnswerOptions
    attention: AttentionChangeOptions
    measures: EditMeasureOptions
    texts: tuple[str, ...]
    free: Collection[str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Task:
    """What every model of the run is made and asked with."""

    read: ReadTaught
    rows: PreparedRows
    context: EditContext
    plan: EditPlan
    num_total: int


def carry_out(
    loaded: LoadedModel,
    read: ReadTaught,
    plan: EditPlan,
    settings: Mapping[str, object],
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model before tuning.
        read: The facts.
        plan: What is asked.
        settings: The resolved recipe.

    Returns:
        The report.

    Raises:
        DataError: A fact cannot be taught or asked.
        ModelError: The model cannot be tuned so.
        UsageError: It lacks what is to be tuned.
    """
    rows = prepare_rows(loaded, read.facts, plan.taught)
    arms = planned(plan.tuning, loaded.layout, len(rows.samples))
    out = Path(str(settings["out"]))
    with bench.opened(loaded, out, settings, KIND, plan.free) as study:
        study.run.note_inputs({"facts": read.sha256})
        task = _Task(
            read=read,
            rows=rows,
            context=_context(study, read, plan),
            plan=plan,
            num_total=sum(p.numel() for p in loaded.model.parameters()),
        )
        made = [
            _made(study, task, arm, is_first=not number, several=len(arms) > 1)
            for number, arm in enumerate(arms)
        ]
        findings_step(study, rows, read.shape, made)
        return report_step(study.run).path(REPORT)


def _context(study: Study, read: ReadTaught, plan: EditPlan) -> EditContext:
    """Other facts of the file, and texts that have nothing to do with them."""
    texts = texts_for(study.loaded.identity.source, ProbeOptions())
    context = edit_context(plan.measures, read.others, texts)
    # What cannot be asked is refused before anything is taught.
    check_edits(study.loaded, read.facts, plan.measures, context, study.seed)
    return context


def _made(
    study: Study, task: _Task, arm: EditArm, *, is_first: bool, several: bool
) -> Made:
    """Make one model, and ask it; the first one everything."""
    plan, facts = task.plan, task.read.facts
    with _start(study, arm) as begun:
        tuned = teach_step(begun, task.rows, arm, task.num_total)
        pair = taught_pair(begun, tuned, arm)
        model = model_step(pair, (arm, tuned), task.rows, facts, plan.answers)
        points: list[StepOutcome] = []
        asked: list[StepOutcome] = []
        if several:
            points = [point_step(pair, arm, facts, of) for of in ("base", "tuned")]
        if is_first and not read_model(model, arm).is_identical:
            asked = [
                edits_step(pair, facts, plan.measures, task.context),
                attention_step(pair, facts, plan.texts, plan.attention),
            ]
    return Made(arm=arm, model=model, points=tuple(points), asked=tuple(asked))


@contextmanager
def _start(study: Study, arm: EditArm) -> Iterator[Study]:
    """The model that training starts from, and that the tuned one is compared with."""
    if not arm.settings.is_four_bit:
        yield study
        return
    identity = study.loaded.identity
    say(
        "the blocks are rounded to 4 bits (nf4): the base that qlora is compared with "
        "is the rounded model"
    )
    rounded = replace(
        identity, sha256=hashlib.sha256(f"{identity.sha256} nf4".encode()).hexdigest()
    )
    with four_bit(study.loaded.model):
        study.run.note_environment(
            num_threads=torch.get_num_threads(),
            device=identity.device,
            dtype=f"{identity.dtype}, blocks in nf4",
        )
        yield replace(study, loaded=replace(study.loaded, identity=rounded))
