"""What does the model answer while its states are moved along the direction?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64, Int64

from driftmap.capture.hooks import evaluating, one_attention_kernel
from driftmap.capture.losses import sample_losses
from driftmap.core.errors import DataError
from driftmap.core.progress import progress
from driftmap.core.seeds import child_seed
from driftmap.core.shortage import explained
from driftmap.intervene.steering import SteeringVector, random_vectors, steering
from driftmap.load.contrasts import speak
from driftmap.load.spans import joined
from driftmap.recipes.steps.bench import Study, batches_of
from driftmap.recipes.steps.honesty.asked import Question
from driftmap.recipes.steps.honesty.files import (
    STEERING,
    STEERING_KIND,
    load_reading,
)
from driftmap.recipes.steps.honesty.planning import Plan
from driftmap.recipes.steps.honesty.reading import vector_of
from driftmap.results.facts import Fact
from driftmap.results.honesty import (
    HonestyReading,
    SteeredAlong,
    Steering,
    SteeringPoint,
)
from driftmap.results.plain import to_plain
from driftmap.results.samples import EncodedSample
from driftmap.signals.batch import Batch
from driftmap.stats.honesty import Resampling
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome

LONGEST = 512
"""Tokens of the unrelated text that are read."""


def steering_step(
    study: Study, plan: Plan, question: Question, read: StepOutcome
) -> StepOutcome:
    """Move states at the band's layers, over a range of strengths."""

    def make(folder: Path) -> None:
        with explained("steering", "repeat with a smaller --batch-size"):
            found = _steered(study, plan, question, load_reading(read))
        save_json(folder / STEERING, to_plain(found), STEERING_KIND)

    how = question.steering
    inputs = {
        "of": read.key,
        "facts": [[one.prompt, one.answer, one.foil] for one in question.facts],
        "strengths": list(how.strengths),
        "how": [how.random_directions, how.keeps_norm, study.seed],
        "unrelated": [question.unrelated.sha256, question.unrelated.text[:80]],
    }
    return study.run.step("steer", inputs, make)


def _steered(
    study: Study, plan: Plan, question: Question, found: HonestyReading
) -> Steering:
    vectors = _vectors(found)
    how = question.steering
    asked: list[tuple[SteeredAlong, int, Sequence[SteeringVector]]] = [
        ("reading", 0, vectors)
    ]
    for number in range(how.random_directions):
        seed = child_seed(study.seed, "steering", number)
        asked.append(("random", number, random_vectors(vectors, seed)))
    sides = _sides(study, question.facts, plan.options.batch_size)
    text = _text_batch(study, question)
    points: list[SteeringPoint] = []
    still: SteeringPoint | None = None
    with progress("steer", len(asked) * len(how.strengths)) as bar:
        for along, number, some in asked:
            for strength in sorted(how.strengths):
                if strength == 0 and still is not None:
                    point = replace(still, along=along, number=number)
                else:
                    with steering(
                        study.loaded.model, some, strength, keeps_norm=how.keeps_norm
                    ):
                        point = _point(study, question, (sides, text), strength)
                    point = replace(point, along=along, number=number)
                still = point if strength == 0 else still
                points.append(point)
                bar.advance()
    return Steering(
        points=tuple(points), layers=found.band.layers, questions=len(question.facts)
    )


def _vectors(found: HonestyReading) -> tuple[SteeringVector, ...]:
    vector = vector_of(found, found.band.method)
    places = [vector.layers.index(layer) for layer in found.band.layers]
    return tuple(
        SteeringVector(
            layer=vector.layers[place],
            direction=torch.from_numpy(vector.direction[place]),
            sd=float(vector.pooled_sd[place]),
        )
        for place in places
    )


def _point(
    study: Study,
    question: Question,
    read: tuple[Sequence[Batch], Batch],
    strength: float,
) -> SteeringPoint:
    """What the model says, however its states are moved right now."""
    sides, text = read
    log_odds = p_true = share_true = None
    with torch.no_grad(), evaluating(study.loaded.model), one_attention_kernel(
        study.loaded.model
    ):  # fmt: skip
        nats = float(sample_losses(study.loaded.model, text)[0])
        if question.facts:
            true, false = _log_p(study, sides)
            draws = Resampling(_subjects(question.facts), study.seed)
            odds = true - false
            log_odds, p_true = draws.mean(odds), draws.mean(np.exp(true))
            share_true = draws.mean((odds > 0) + 0.5 * (odds == 0))
    return SteeringPoint(
        along="reading",
        number=0,
        strength=strength,
        log_odds=log_odds,
        p_true=p_true,
        share_true=share_true,
        perplexity=float(np.exp(min(nats, 700.0))),
    )


def _log_p(
    study: Study, sides: Sequence[Batch]
) -> tuple[Float64[np.ndarray, " fact"], Float64[np.ndarray, " fact"]]:
    """Log-probability of the true and of the false answer to each question."""
    total = np.empty(sum(len(batch.sample_ids) for batch in sides))
    for batch in sides:
        nats = sample_losses(study.loaded.model, batch).double().cpu()
        counts = batch.counted.sum(1).double().cpu()
        total[list(batch.sample_index)] = -(nats * counts).numpy()
    return total[0::2], total[1::2]


def _sides(study: Study, facts: Sequence[Fact], batch_size: int) -> tuple[Batch, ...]:
    """Every question with its true answer, and then with its false one."""
    if not facts:
        return ()
    rows = [
        _answered(study, fact, answer)
        for fact in facts
        for answer in (fact.answer, fact.foil)
    ]
    return batches_of(study.loaded, rows, batch_size)


def _answered(study: Study, fact: Fact, answer: str | None) -> EncodedSample:
    assert answer is not None, fact.id
    whole = joined(fact.prompt, answer)
    spoken = speak(whole, "", study.loaded.tokenizer, "plain")
    border = len(fact.prompt.rstrip(" "))
    counted = np.array([end > border for _, end in spoken.spans], bool)
    if not counted.any() or counted[0]:
        raise DataError(
            f"{fact.id}: the answer {answer!r} is no token of its own behind the "
            "prompt; leave the fact out"
        )
    return EncodedSample(
        sample_id=f"{fact.id} {answer}",
        token_ids=np.array(spoken.token_ids, np.int32),
        counted=counted,
        prompt_length=int(counted.argmax()),
    )


def _text_batch(study: Study, question: Question) -> Batch:
    spoken = speak(question.unrelated.text, "", study.loaded.tokenizer, "plain")
    most = min(study.loaded.context_length or LONGEST, LONGEST)
    ids = np.array(spoken.token_ids[:most], np.int32)
    counted = np.ones(len(ids), bool)
    counted[:1] = False
    row = EncodedSample(
        sample_id=question.unrelated.name,
        token_ids=ids,
        counted=counted,
        prompt_length=0,
    )
    (batch,) = batches_of(study.loaded, [row], 1)
    return batch


def _subjects(facts: Sequence[Fact]) -> Int64[np.ndarray, " fact"]:
    """Facts of one subject are drawn together."""
    names = [one.subject or one.id for one in facts]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], np.int64)
