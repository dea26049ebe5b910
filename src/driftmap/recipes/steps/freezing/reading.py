"""What does the model do before tuning, and after each training run?"""

from collections.abc import Sequence
from pathlib import Path

from driftmap.core.shortage import explained
from driftmap.recipes.options import EvaluationOptions
from driftmap.recipes.steps.behaviour.evaluation import (
    evaluation_inputs,
    load_readings,
    model_rows,
    opening_ids,
)
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import EvaluationData
from driftmap.recipes.steps.freezing.tuning import Tuned
from driftmap.recipes.steps.needs.remedies import for_evaluation
from driftmap.recipes.steps.tuning.checkpoints import tuned_model
from driftmap.results.freeze_study import BEFORE, MEAN
from driftmap.results.table import Table
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table


def read_step(
    study: Study,
    asked: EvaluationData,
    options: EvaluationOptions,
    base: StepOutcome,
    tuned: Tuned,
) -> StepOutcome:
    """Ask a tuned model all that the model was asked before.

    Args:
        study: Folder and model.
        asked: Prompts and samples.
        options: How answers are made.
        base: The step that read the model before tuning.
        tuned: The training run.
    """
    arm = tuned.arm

    def make(folder: Path) -> None:
        with (
            explained("evaluation", for_evaluation(options)),
            tuned_model(study.loaded, tuned.checkpoint) as model,
        ):
            rows = model_rows(study.loaded, model, asked, options, opening_ids(base))
        names = {"kind": arm.kind, "share": arm.share, "seed": arm.number}
        table = Table.from_rows([{**names, **row} for row in rows])
        save_table(folder / _file(arm.label), table)

    inputs = {
        **evaluation_inputs(study, asked, options),
        "base": base.key,
        "tuned": tuned.step.key,
    }
    return study.run.step(f"read-{arm.label}", inputs, make)


def all_readings(base: StepOutcome, read: Sequence[StepOutcome]) -> Table:
    """Every reading, one row each: those before tuning first.

    Returns:
        Columns kind, share, seed and those of a reading.
    """
    before = dict(load_readings([base]).columns)
    count = len(before.pop("seed"))
    before.pop("step")
    names = Table.from_rows([{"kind": BEFORE, "share": 0.0, "seed": MEAN}] * count)
    first = Table(columns={**names.columns, **before})
    after = [load_table(step.path(next(iter(step.files)))) for step in read]
    return Table.joined([first, *after])


def _file(label: str) -> str:
    return f"tables/readings/{label}.parquet"
