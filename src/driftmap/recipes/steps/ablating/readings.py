"""What does the model do intact, and at every dose of every arm?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from driftmap.recipes.options import EvaluationOptions
from driftmap.recipes.steps.ablating.arms import Arm, Treatment
from driftmap.recipes.steps.behaviour.evaluation import PROMPTS
from driftmap.recipes.steps.bench import Study, batches_of
from driftmap.recipes.steps.data import Encoded, EvaluationData
from driftmap.recipes.steps.needs.remedies import for_evaluation
from driftmap.results.ablation import INTACT, OWN
from driftmap.results.behaviour import Answer
from driftmap.results.table import Cell, Table
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

FIRST_IDS = "tables/refusal_tokens.parquet"
_FOLDER = "tables/readings"

Model = PreTrainedModel | PeftModel
Rows = list[dict[str, Cell]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Questions:
    """What a model is asked, and how.

    Args:
        asked: Prompts and held-out samples.
        options: Batch size and length of answers.
    """

    asked: EvaluationData
    options: EvaluationOptions


def intact_step(study: Study, questions: Questions) -> StepOutcome:
    """Read the untouched model, once, and which ids open its refusals."""
    model = cast(Model, study.loaded.model)

    def make(folder: Path) -> None:
        with explained("evaluation", for_evaluation(questions.options)):
            said = [_answers(study, model, p, questions) for p in _sets(questions)]
            every = [answer for of_set in said for answer in of_set]
            refused = [is_refusal(answer.text) for answer in every]
            ids = refusal_first_ids(every, refused)
            rows = _read(study, questions, ids, said[0])
            rows = _with_intact_nats(study, questions, rows)
        save_table(folder / f"{_FOLDER}/intact.parquet", _table(rows, INTACT, OWN, 0))
        table = Table.from_rows([{"token_id": number} for number in ids])
        save_table(folder / FIRST_IDS, table)

    return study.run.step("intact", _inputs(study, questions), make)


def arm_step(
    study: Study,
    questions: Questions,
    treatment: tuple[Treatment, int],
    arm: Arm,
    doses: tuple[str, Sequence[float], StepOutcome],
) -> StepOutcome:
    """Read the model at every dose of one arm.

    Args:
        study: Folder and model.
        questions: What is asked.
        treatment: What the arm belongs to, and its number.
        arm: A group or a control of it.
        doses: What is done, the shares, and the step that read the intact model.
    """
    by, shares, intact = doses
    about, number = treatment
    label = f"arm-{number}" + ("" if arm.is_own else f"-control-{arm.draw}")
    what = arm.group if arm.is_own else f"{arm.group}, control {arm.draw + 1}"

    def make(folder: Path) -> None:
        found = load_table(intact.path(FIRST_IDS))
        ids = tuple(found["token_id"].tolist()) if len(found) else ()
        tables = []
        with progress(f"take {what}", len(shares)) as bar:
            for dose in shares:
                change = arm.change(dose)
                with explained("evaluation", for_evaluation(questions.options)):
                    with change.made(study.loaded.model):
                        rows = _read(study, questions, ids)
                    rows = _with_intact_nats(study, questions, rows)
                tables.append(_table(rows, arm.group, arm.draw, dose))
                bar.advance()
        save_table(folder / f"{_FOLDER}/{label}.parquet", Table.joined(tables))

    inputs = {
        **_inputs(study, questions),
        **about.inputs,
        "by": by,
        "doses": list(shares),
        "draw": arm.draw,
        "seed": study.seed,
        "intact": intact.key,
    }
    return study.run.step(label, inputs, make)


def load_readings(steps: Sequence[StepOutcome]) -> Table:
    """Every reading, one row each: the intact model first."""
    files = [
        step.path(name)
        for step in steps
        for name in step.files
        if name.startswith(_FOLDER)
    ]
    return Table.joined([load_table(file) for file in files])


def _inputs(study: Study, questions: Questions) -> dict[str, object]:
    model, asked = cast(PreTrainedModel, study.loaded.model), questions.asked
    return {
        "model": study.loaded.identity.sha256,
        "dtype": study.loaded.identity.dtype,
        "prompts": asked.prompts_sha256,
        "held_out": [[held.name, held.sha256] for held in asked.held_out],
        "end_ids": end_ids(model, study.loaded.tokenizer),
        "max_new_tokens": questions.options.max_new_tokens,
    }


def _sets(questions: Questions) -> list[Encoded]:
    asked = questions.asked
    return [asked.prompts, *(held.prompts for held in asked.held_out)]


def _answers(
    study: Study, model: Model, prompts: Encoded, questions: Questions
) -> tuple[Answer, ...]:
    answers = greedy_answers(
        model,
        study.loaded.tokenizer,
        prompts,
        max_new_tokens=questions.options.max_new_tokens,
        batch_size=questions.options.eval_batch_size,
    )
    give_back()  # or it would add to the logits that are read next
    return answers


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Readings:
    """What a model did.

    Args:
        answers: To the requests to refuse.
        rows: One per prompt and held-out sample.
    """

    answers: tuple[Answer, ...]
    rows: Rows


def _read(
    study: Study,
    questions: Questions,
    first_ids: Sequence[int],
    answers: tuple[Answer, ...] | None = None,
) -> _Readings:
    model, asked = cast(Model, study.loaded.model), questions.asked
    answers = answers or _answers(study, model, asked.prompts, questions)
    rows: Rows = []
    for reading in refusal_readings(
        model,
        asked.prompts,
        answers,
        first_ids=first_ids,
        batch_size=questions.options.eval_batch_size,
    ):
        odds = np.nan if reading.log_odds is None else reading.log_odds
        row = _row(PROMPTS, reading.sample_id)
        refused = float(reading.refused)
        rows.append(
            row | {"refused": refused, "log_odds": odds, "answer": reading.answer}
        )
    for held in asked.held_out:
        batches = batches_of(
            study.loaded, held.samples, questions.options.eval_batch_size
        )
        for right in held_out_accuracy(model, batches):
            row = _row(held.name, right.sample_id)
            rows.append(row | {"right": float(right.right), "nll_nats": right.nll_nats})
    return _Readings(answers=answers, rows=rows)


def _row(name: str, sample_id: str) -> dict[str, Cell]:
    unknown = dict.fromkeys(("refused", "log_odds", "right", "nll_nats"), np.nan)
    return {"set": name, "sample_id": sample_id, **unknown, "answer": ""}


def _with_intact_nats(
    study: Study, questions: Questions, readings: _Readings
) -> _Readings:
    """How likely the answers are for the intact model: broken ones are not.

    Mean negative log-likelihood per token, in nats.
    """
    prompts = {prompt.sample_id: prompt for prompt in questions.asked.prompts}
    said = []
    for answer in readings.answers:
        prompt = prompts[answer.sample_id]
        if answer.token_ids:
            ids = np.array([*prompt.token_ids.tolist(), *answer.token_ids], np.int32)
            counted = np.arange(ids.size) >= prompt.token_ids.size
            said.append(replace(prompt, token_ids=ids, counted=counted))
    nats = {}
    if said:
        batches = batches_of(study.loaded, said, questions.options.eval_batch_size)
        found = held_out_accuracy(cast(Model, study.loaded.model), batches)
        nats = {reading.sample_id: reading.nll_nats for reading in found}
    rows = [
        row | {"nll_nats": nats.get(str(row["sample_id"]), np.nan)}
        if row["set"] == PROMPTS
        else row
        for row in readings.rows
    ]
    return replace(readings, rows=rows)


def _table(readings: _Readings, group: str, draw: int, dose: float) -> Table:
    return Table.from_rows(
        [
            {"group": group, "draw": draw, "dose": float(dose), **row}
            for row in readings.rows
        ]
    )
