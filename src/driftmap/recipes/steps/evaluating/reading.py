"""What is read without new answers: rulings, likelihood, log-odds?"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from transformers import PreTrainedModel

from driftmap.evaluate.accuracy import held_out_accuracy
from driftmap.evaluate.attacks import Condition, requests
from driftmap.evaluate.generators import Request
from driftmap.evaluate.refusal import refusal_first_ids, refusal_log_odds
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.bench import batches_of
from driftmap.recipes.steps.evaluating.asking import Prompts, encoded_requests
from driftmap.recipes.steps.evaluating.judging import NamedJudge
from driftmap.recipes.steps.evaluating.shelf import Shelf
from driftmap.results.behaviour import Answer
from driftmap.results.evaluation import Which
from driftmap.results.judging import Exchange
from driftmap.results.samples import EncodedSample
from driftmap.results.table import Table
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

RULINGS = "tables/rulings.parquet"
LIKELIHOOD = "tables/likelihood.parquet"


def rulings_step(
    run: RunDir, answered: Sequence[StepOutcome], named: NamedJudge
) -> StepOutcome:
    """Judge every answer; words that were put into the model's mouth are not shown."""

    def make(folder: Path) -> None:
        answers = load_answers(answered)
        exchanges = [
            Exchange(prompt=prompt, answer=answer)
            for prompt, answer in zip(
                answers["prompt"].tolist(), answers["answer"].tolist(), strict=True
            )
        ]
        said = np.array(named.judge.rulings(exchanges))
        table = Table(columns={**answers.columns, "ruling": said})
        save_table(folder / RULINGS, table)

    inputs = {"answers": [step.key for step in answered], "judge": named.key}
    return run.step("rulings", inputs, make)


def load_answers(answered: Sequence[StepOutcome]) -> Table:
    """Every answer of every step, one row each."""
    return Table.joined(
        [load_table(step.path(name)) for step in answered for name in step.files]
    )


def likelihood_step(
    run: RunDir, shelf: Shelf, rulings: StepOutcome, untouched: str, batch_size: int
) -> StepOutcome:
    """Read how likely the untouched model holds each answer, where it is told tokens.

    Args:
        run: The run.
        shelf: Holds the untouched model.
        rulings: The step that holds all answers.
        untouched: What the shelf calls that model.
        batch_size: Answers at a time.
    """
    reads = shelf.desk(untouched).tokenizer.get_vocab()
    shares = reads == shelf.desk("this").tokenizer.get_vocab()

    def make(folder: Path) -> None:
        answers = load_table(rulings.path(RULINGS))
        log_p = np.full(len(answers), np.nan)
        samples = [
            (row, sample)
            for row, one in enumerate(answers.rows())
            if (
                sample := _answered(row, str(one["prompt_ids"]), str(one["answer_ids"]))
            )
        ]
        if shares and samples:
            loaded = shelf.take(untouched)
            read = _log_p(loaded, [sample for _, sample in samples], batch_size)
            log_p[[row for row, _ in samples]] = read
        save_table(folder / LIKELIHOOD, Table(columns={"log_p": log_p}))

    identity = shelf.desk(untouched).identity
    inputs = {
        "rulings": rulings.key,
        "untouched": [identity.sha256, identity.dtype, shares],
    }
    return run.step("likelihood", inputs, make)


@dataclass(frozen=True, slots=True, kw_only=True)
class OddsInputs:
    """What log-odds are read on.

    Args:
        prompts: Harmful and harmless requests.
        frame: The plain way to ask.
        refusals: Beginnings of a refusal.
        compliances: Beginnings of an answer that complies.
        first_ids: Ids that open a refusal.
        batch_size: Prompts at a time.
    """

    prompts: Prompts
    frame: Condition
    refusals: Sequence[str]
    compliances: Sequence[str]
    first_ids: Sequence[int]
    batch_size: int


def first_ids_of(
    rulings: StepOutcome, frame: Condition, of: Which | None
) -> tuple[int, ...]:
    """Ids that open a refusal, from plain answers and their rulings.

    Args:
        rulings: The step that holds all answers.
        frame: The plain way to ask.
        of: Whose answers count; None for those of all models together: whichever of
            two is the intact one, its refusals count.
    """
    rows = load_table(rulings.path(RULINGS)).where(
        attack="plain",
        template=frame.template,
        has_system=frame.system_prompt is not None,
    )
    if of is not None:
        rows = rows.where(model=of)
    answers = [
        Answer(sample_id=str(s), text="", token_ids=tuple(json.loads(str(ids))))
        for s, ids in zip(rows["sample_id"], rows["answer_ids"], strict=True)
    ]
    return refusal_first_ids(answers, (rows["ruling"] != "compliance").tolist())


def odds_step(
    run: RunDir, shelf: Shelf, model: Which, inputs: OddsInputs
) -> StepOutcome:
    """Read refusal log-odds of one model, with and without openers of their own."""
    asked = {
        name: requests(samples, inputs.frame)
        for name, samples in inputs.prompts.samples.items()
        if samples
    }
    desk = shelf.desk(model)

    def make(folder: Path) -> None:
        loaded = shelf.take(model)
        rows = []
        for name, some in asked.items():
            encoded = encoded_requests(desk, some)
            odds = (
                refusal_log_odds(
                    cast(PreTrainedModel, loaded.model),
                    encoded,
                    inputs.first_ids,
                    batch_size=inputs.batch_size,
                )
                if inputs.first_ids
                else [np.nan] * len(encoded)
            )
            gaps = _opener_gaps(shelf, loaded, model, (some, encoded), inputs)
            rows += [
                {
                    "model": model, "asked": name, "sample_id": sample.sample_id,
                    "first_token": float(first), "openers": gap,
                }
                for sample, first, gap in zip(encoded, odds, gaps, strict=True)
            ]  # fmt: skip
        save_table(folder / f"tables/log_odds/{model}.parquet", Table.from_rows(rows))

    texts = {name: encoded_requests(desk, some) for name, some in asked.items()}
    key = {
        "model": [desk.identity.sha256, desk.identity.dtype],
        "asked": {n: [s.token_ids.tolist() for s in each] for n, each in texts.items()},
        "first_ids": list(inputs.first_ids),
        "openers": [list(inputs.refusals), list(inputs.compliances)],
    }
    return run.step(f"log-odds-{model}", key, make)


def _opener_gaps(
    shelf: Shelf,
    loaded: LoadedModel,
    model: Which,
    asked: tuple[Sequence[Request], Sequence[EncodedSample]],
    inputs: OddsInputs,
) -> list[float]:
    """Log P(begins with a refusal opener) - log P(begins with a compliance opener)."""
    some, prompts = asked

    def total(openers: Sequence[str]) -> np.ndarray:
        each = []
        for opener in openers:
            put = [
                Request(sample=r.sample, template=r.template, prefill=opener)
                for r in some
            ]
            whole = encoded_requests(shelf.desk(model), put)
            counted = [
                _counted(long, _shared(long, short))
                for long, short in zip(whole, prompts, strict=True)
            ]
            num = np.array([sample.counted.sum() for sample in counted])
            each.append(_log_p(loaded, counted, inputs.batch_size) * num)
        return np.logaddexp.reduce(np.array(each), axis=0)

    return (total(inputs.refusals) - total(inputs.compliances)).tolist()


def _shared(long: EncodedSample, short: EncodedSample) -> int:
    """Tokens that both begin with: at a border that merges, one fewer than expected."""
    size = min(long.token_ids.size, short.token_ids.size)
    differ = np.flatnonzero(long.token_ids[:size] != short.token_ids[:size])
    return int(differ[0]) if differ.size else size


def _answered(row: int, prompt_ids: str, answer_ids: str) -> EncodedSample | None:
    """An answer behind its prompt; None where its tokens are not known."""
    prompt, answer = json.loads(prompt_ids), json.loads(answer_ids)
    if not prompt or not answer:
        return None
    whole = EncodedSample(
        sample_id=f"answer {row}",
        token_ids=np.array([*prompt, *answer], np.int32),
        counted=np.zeros(len(prompt) + len(answer), bool),
        prompt_length=len(prompt),
    )
    return _counted(whole, len(prompt))


def _counted(sample: EncodedSample, start: int) -> EncodedSample:
    """The sample with all tokens counted from a place on."""
    return EncodedSample(
        sample_id=sample.sample_id,
        token_ids=sample.token_ids,
        counted=np.arange(sample.token_ids.size) >= max(start, 1),
        prompt_length=start,
    )


def _log_p(
    loaded: LoadedModel, samples: Sequence[EncodedSample], batch_size: int
) -> np.ndarray:
    """Mean log-probability per counted token, in the order of the samples."""
    by_length = sorted(range(len(samples)), key=lambda n: samples[n].token_ids.size)
    batches = batches_of(loaded, [samples[n] for n in by_length], batch_size)
    read = held_out_accuracy(
        cast(PreTrainedModel, loaded.model), batches, what="likelihood of answers"
    )
    found = np.empty(len(samples))
    found[by_length] = [-reading.nll_nats for reading in read]
    return found
