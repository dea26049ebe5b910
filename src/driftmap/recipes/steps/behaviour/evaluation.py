"""What does the model do before tuning and at each checkpoint?"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from peft import PeftModel
from transformers import PreTrainedModel

from driftmap.core.progress import progress
from driftmap.core.shortage import explained, give_back
from driftmap.evaluate.accuracy import held_out_accuracy
from driftmap.evaluate.generate import end_ids, greedy_answers
from driftmap.evaluate.refusal import (
    is_refusal,
    refusal_first_ids,
    refusal_readings,
)
from driftmap.load.model import LoadedModel
from driftmap.recipes.options import EvaluationOptions
from driftmap.recipes.steps.bench import Study, batches_of
from driftmap.recipes.steps.data import Encoded, EvaluationData
from driftmap.recipes.steps.needs.remedies import for_evaluation
from driftmap.recipes.steps.tuning.checkpoints import tuned_model
from driftmap.recipes.steps.tuning.training import checkpoint_folders
from driftmap.results.behaviour import Answer
from driftmap.results.table import Cell, Table
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

BASE = "evaluate-base"
PROMPTS = "requests to refuse"
"""What tables call the prompts whose refusal is the declared outcome."""

_OPENING_FILE = "tables/refusal_tokens.parquet"

Model = PreTrainedModel | PeftModel
Rows = list[dict[str, Cell]]


def all_steps(
    study: Study,
    asked: EvaluationData,
    options: EvaluationOptions,
    tuned: Sequence[StepOutcome],
) -> list[StepOutcome]:
    """Evaluate the model before tuning, then every checkpoint of every run."""
    base = base_step(study, asked, options)
    return [
        base,
        *(
            checkpoint_step(study, asked, options, base, (trained, number))
            for number, trained in enumerate(tuned)
        ),
    ]


def base_step(
    study: Study, asked: EvaluationData, options: EvaluationOptions
) -> StepOutcome:
    """Evaluate the model before tuning, once."""

    def make(folder: Path) -> None:
        model = cast(PreTrainedModel, study.loaded.model)
        with explained("evaluation", for_evaluation(options)):
            answers = _answers(study.loaded, model, asked, options)
            # Ids that open a refusal follow from what the intact model answers.
            said = [answer for of_set in answers for answer in of_set]
            refused = [is_refusal(answer.text) for answer in said]
            first_ids = refusal_first_ids(said, refused)
            rows = _read(study.loaded, (model, answers), asked, options, first_ids)
        save_table(folder / _file("base"), _table(rows, seed=-1, step=0))
        ids = Table.from_rows([{"token_id": number} for number in first_ids])
        save_table(folder / _OPENING_FILE, ids)

    return study.run.step(BASE, evaluation_inputs(study, asked, options), make)


def checkpoint_step(
    study: Study,
    asked: EvaluationData,
    options: EvaluationOptions,
    base: StepOutcome,
    tuned: tuple[StepOutcome, int],
) -> StepOutcome:
    """Evaluate every checkpoint of one training run but step 0, which is the base.

    Args:
        study: Folder and model.
        asked: Prompts and samples.
        options: How answers are made.
        base: The step that evaluated the model before tuning.
        tuned: The step that trained, and the number of its run.
    """
    trained, number = tuned

    def make(folder: Path) -> None:
        first_ids = opening_ids(base)
        adapters = checkpoint_folders(trained, number)
        tables = []
        with progress(f"evaluate seed {number}", len(adapters)) as bar:
            for step, adapter in adapters.items():
                if step > 0:
                    with (
                        explained("evaluation", for_evaluation(options)),
                        tuned_model(study.loaded, adapter) as model,
                    ):
                        rows = model_rows(
                            study.loaded, model, asked, options, first_ids
                        )
                    tables.append(_table(rows, seed=number, step=step))
                bar.advance()
        save_table(folder / _file(f"seed-{number}"), Table.joined(tables))

    inputs = {
        **evaluation_inputs(study, asked, options),
        "base": base.key,
        "tuned": trained.key,
    }
    return study.run.step(f"evaluate-seed-{number}", inputs, make)


def opening_ids(base: StepOutcome) -> tuple[int, ...]:
    """Ids that open a refusal, as the model before tuning answers; none is possible."""
    found = load_table(base.path(_OPENING_FILE))
    return tuple(found["token_id"].tolist()) if len(found) else ()


def model_rows(
    loaded: LoadedModel,
    model: Model,
    asked: EvaluationData,
    options: EvaluationOptions,
    first_ids: Sequence[int],
) -> Rows:
    """Have a model answer, and read refusal, log-odds and accuracy.

    Args:
        loaded: Whose tokenizer reads the prompts.
        model: What is asked.
        asked: Prompts and samples.
        options: How answers are made.
        first_ids: What opens a refusal.

    Returns:
        One row per prompt and held-out sample.
    """
    answers = _answers(loaded, model, asked, options)
    return _read(loaded, (model, answers), asked, options, first_ids)


def load_readings(steps: Sequence[StepOutcome]) -> Table:
    """Every reading of the base and of all training runs, one row each."""
    files = [
        step.path(name)
        for step in steps
        for name in step.files
        if name.startswith("tables/readings/")
    ]
    return Table.joined([load_table(file) for file in files])


def evaluation_inputs(
    study: Study, asked: EvaluationData, options: EvaluationOptions
) -> dict[str, object]:
    """All that the answers depend on, beside what was done to the model."""
    model = cast(PreTrainedModel, study.loaded.model)
    return {
        "model": study.loaded.identity.sha256,
        "dtype": study.loaded.identity.dtype,
        "prompts": asked.prompts_sha256,
        "held_out": [[held.name, held.sha256] for held in asked.held_out],
        "end_ids": end_ids(model, study.loaded.tokenizer),
        "max_new_tokens": options.max_new_tokens,
    }


def _sets(asked: EvaluationData) -> list[tuple[str, Encoded]]:
    return [(PROMPTS, asked.prompts), *((h.name, h.prompts) for h in asked.held_out)]


def _answers(
    loaded: LoadedModel,
    model: Model,
    asked: EvaluationData,
    options: EvaluationOptions,
) -> list[tuple[Answer, ...]]:
    """What a model answers to each set of prompts."""
    answers = []
    for _, prompts in _sets(asked):
        some = greedy_answers(
            model,
            loaded.tokenizer,
            prompts,
            max_new_tokens=options.max_new_tokens,
            batch_size=options.eval_batch_size,
        )
        answers.append(some)
        give_back()  # or it would add to the logits that are read next
    return answers


def _read(
    loaded: LoadedModel,
    answered: tuple[Model, Sequence[Sequence[Answer]]],
    asked: EvaluationData,
    options: EvaluationOptions,
    first_ids: Sequence[int],
) -> Rows:
    model, answers = answered
    rows: Rows = []
    for (name, prompts), of_set in zip(_sets(asked), answers, strict=True):
        for reading in refusal_readings(
            model,
            prompts,
            of_set,
            first_ids=first_ids,
            batch_size=options.eval_batch_size,
        ):
            rows.append(
                {
                    "set": name,
                    "sample_id": reading.sample_id,
                    "refused": float(reading.refused),
                    "log_odds": np.nan
                    if reading.log_odds is None
                    else reading.log_odds,
                    "right": np.nan,
                    "nll_nats": np.nan,
                    "answer": reading.answer,
                }
            )
    return _with_accuracy(rows, loaded, model, asked, options)


def _with_accuracy(
    rows: Rows,
    loaded: LoadedModel,
    model: Model,
    asked: EvaluationData,
    options: EvaluationOptions,
) -> Rows:
    for held in asked.held_out:
        batches = batches_of(loaded, held.samples, options.eval_batch_size)
        right = {r.sample_id: r for r in held_out_accuracy(model, batches)}
        for row in rows:
            if row["set"] == held.name:
                reading = right[str(row["sample_id"])]
                row["right"] = float(reading.right)
                row["nll_nats"] = reading.nll_nats
    return rows


def _table(rows: Rows, *, seed: int, step: int) -> Table:
    return Table.from_rows([{"seed": seed, "step": step, **row} for row in rows])


def _file(name: str) -> str:
    return f"tables/readings/{name}.parquet"
