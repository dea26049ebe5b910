"""What does the band's score tell of something it was not made for?"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from driftmap.core.errors import DataError
from driftmap.load.contrasts import (
    Contrast,
    Instructions,
    make_contrasts,
    negated,
    speak,
)
from driftmap.load.statements import Statement
from driftmap.measure.reading import scores
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.honesty.asked import Question
from driftmap.recipes.steps.honesty.files import (
    TRANSFERS,
    TRANSFERS_KIND,
    load_reading,
)
from driftmap.recipes.steps.honesty.planning import Plan
from driftmap.recipes.steps.honesty.reading import vector_of
from driftmap.recipes.steps.honesty.states import marked, pair_states, states_at
from driftmap.results.honesty import (
    HonestyReading,
    ReadingVector,
    Transfer,
    TransferName,
)
from driftmap.results.plain import to_plain
from driftmap.stats.honesty import Resampling, auroc_of_groups
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome

ASKED: dict[TransferName, str] = {
    "other_wording": "other words for both instructions, before true statements",
    "false_statements": "false statements behind both instructions",
    "true_against_false": "true against false statements, without an instruction",
    "negated": "the same with statements negated: true ones against false ones",
    "given": "true against false statements of another file",
}
FEWEST = 5
"""Statements of each kind without which nothing is reported."""


def transfer_step(
    study: Study, plan: Plan, question: Question, read: StepOutcome
) -> StepOutcome:
    """Try the band on what it was not made for, on the test half alone."""

    def make(folder: Path) -> None:
        found = load_reading(read)
        rows = [*_in_pairs(study, plan, question, found), *_by_truth(
            study, plan, question, found
        )]  # fmt: skip
        save_json(folder / TRANSFERS, {"rows": to_plain(tuple(rows))}, TRANSFERS_KIND)

    inputs = {
        "of": read.key,
        "other": [plan.other.honest, plan.other.dishonest],
        "test": [[one.text, one.is_true] for one in question.halves["test"]],
        "negated": _texts(question.negated),
        "try_on": _texts(question.try_on),
        "seed": study.seed,
    }
    return study.run.step("transfer", inputs, make)


def band_scores(
    found: HonestyReading, states: Float32[np.ndarray, "place layer width"]
) -> Float32[np.ndarray, " place"]:
    """Mean score over the band's layers."""
    vector = vector_of(found, found.band.method)
    places = [vector.layers.index(layer) for layer in found.band.layers]
    return scores(vector, states)[:, places].mean(1)


def _in_pairs(
    study: Study, plan: Plan, question: Question, found: HonestyReading
) -> list[Transfer]:
    test = question.halves["test"]
    return [
        _paired(
            "other_wording", study, plan, found,
            ([one for one in test if one.is_true], plan.other),
        ),
        _paired(
            "false_statements", study, plan, found,
            ([one for one in test if not one.is_true], plan.instructions),
        ),
    ]  # fmt: skip


def _paired(
    name: TransferName,
    study: Study,
    plan: Plan,
    found: HonestyReading,
    said: tuple[Sequence[Statement], Instructions],
) -> Transfer:
    made = _contrasts(study, plan, *said)
    if len(made) < FEWEST:
        return _missing(name, f"{len(made)} statements make a pair")
    vector = vector_of(found, found.band.method)
    states = pair_states(study, made, vector.layers, plan.options.batch_size)
    honest, dishonest = (
        band_scores(found, side) for side in (states.honest, states.dishonest)
    )
    draws = Resampling(states.statement, study.seed)
    hits = np.greater(honest, dishonest) + 0.5 * np.equal(honest, dishonest)
    return Transfer(
        name=name,
        asked=ASKED[name],
        auroc=draws.auroc(honest, dishonest),
        pair_accuracy=draws.mean(hits),
    )


def _contrasts(
    study: Study, plan: Plan, statements: Sequence[Statement], said: Instructions
) -> tuple[Contrast, ...]:
    try:
        return make_contrasts(
            statements,
            said,
            study.loaded.tokenizer,
            left_over=plan.left_over,
            only_last=plan.only_last,
            max_length=study.loaded.context_length,
        ).contrasts
    except DataError:
        return ()


def _by_truth(
    study: Study, plan: Plan, question: Question, found: HonestyReading
) -> list[Transfer]:
    test = question.halves["test"]
    opposite = question.negated
    if opposite is None:
        opposite = tuple(
            Statement(id=one.id, text=said, is_true=not one.is_true)
            for one in test
            if (said := negated(one.text)) is not None
        )
    rows = [
        _of_truth("true_against_false", study, plan, found, test),
        _of_truth("negated", study, plan, found, opposite),
    ]
    if question.try_on is not None:
        rows.append(_of_truth("given", study, plan, found, question.try_on))
    return rows


def _of_truth(
    name: TransferName,
    study: Study,
    plan: Plan,
    found: HonestyReading,
    statements: Sequence[Statement],
) -> Transfer:
    """Score bare statements at their last token."""
    true = np.array([one.is_true for one in statements], bool)
    fewest = int(min(true.sum(), (~true).sum())) if len(true) else 0
    if fewest < FEWEST:
        return _missing(
            name, f"{int(true.sum())} true and {int((~true).sum())} false statements"
        )
    vector: ReadingVector = vector_of(found, found.band.method)
    tokenizer = study.loaded.tokenizer
    spoken = [speak(one.text, "", tokenizer, "plain") for one in statements]
    wanted = [
        marked(one.id, said.token_ids, [len(said.token_ids) - 1])
        for one, said in zip(statements, spoken, strict=True)
    ]
    states = states_at(study, wanted, vector.layers, plan.options.batch_size)
    values = band_scores(found, np.concatenate(states))
    return Transfer(
        name=name,
        asked=ASKED[name],
        auroc=auroc_of_groups(values[true], values[~true], study.seed),
        pair_accuracy=None,
    )


def _missing(name: TransferName, what: str) -> Transfer:
    return Transfer(
        name=name,
        asked=ASKED[name],
        auroc=None,
        pair_accuracy=None,
        missing=f"{what}; {FEWEST} are the least",
    )


def _texts(statements: tuple[Statement, ...] | None) -> object:
    if statements is None:
        return None
    return [[one.text, one.is_true] for one in statements]
