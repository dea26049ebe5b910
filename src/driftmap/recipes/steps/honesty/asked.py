"""Which statements, facts and texts does a study of honesty readings ask about?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np

from driftmap.core.errors import DataError, UsageError
from driftmap.core.seeds import child_seed
from driftmap.load.contrasts import split_statements
from driftmap.load.facts import read_facts
from driftmap.load.long_text import LongText, read_text
from driftmap.load.statements import Statement, read_statements
from driftmap.recipes.honesty_options import (
    ScoredTextOptions,
    StatementOptions,
    SteeringOptions,
)
from driftmap.results.facts import Fact

UNRELATED = (
    "The river rises in the hills above the town and runs slowly to the sea. In spring "
    "the meadows beside it are under water for some weeks, and people go from house to "
    "house by boat. In summer children swim below the old mill. Boats bring timber, "
    "wool and salt, and take cheese and apples away. When the first frost comes, the "
    "boats are drawn up on the bank and painted, and the men go to work in the woods."
)
"""Text that no instruction and no fact is in."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """All that is asked, read and drawn, before there is a model.

    Args:
        data: What is said, and under which instructions.
        halves: Statements of each half, near-duplicates together.
        negated: Negated statements from a file; None to make them.
        try_on: Statements of another kind; None for none.
        texts: Which texts are scored.
        steering: What steering is measured with.
        facts: With a true and a false answer each.
        unrelated: Text whose perplexity is read.
    """

    data: StatementOptions
    halves: Mapping[str, tuple[Statement, ...]]
    negated: tuple[Statement, ...] | None
    try_on: tuple[Statement, ...] | None
    texts: ScoredTextOptions
    steering: SteeringOptions
    facts: tuple[Fact, ...]
    unrelated: LongText


def asked_for(
    data: StatementOptions,
    texts: ScoredTextOptions,
    steering: SteeringOptions,
    seed: int,
) -> Question:
    """Read all files, and draw and share out what they hold.

    Args:
        data: What is said.
        texts: Which texts are scored.
        steering: What steering is measured on.
        seed: The run's seed.

    Raises:
        DataError: A file cannot be read, holds no true or no false statement, or facts
            without a false answer that none could be drawn for.
    """
    read = read_statements(data.statements).statements
    for truth, word in ((True, "true"), (False, "false")):
        if not any(one.is_true == truth for one in read):
            raise DataError(
                f"{data.statements}: holds no {word} statement; directions are made of "
                "true ones and tried on false ones"
            )
    chosen = _drawn(read, data.num_statements, child_seed(seed, "statements"))
    return Question(
        data=data,
        halves=split_statements(chosen, child_seed(seed, "halves")),
        negated=_optional(data.negated),
        try_on=_optional(data.try_on),
        texts=texts,
        steering=steering,
        facts=_facts(steering, seed),
        unrelated=_unrelated(steering),
    )


def require_gguf() -> None:
    """Refuse to begin what could not be written.

    Raises:
        UsageError: The package is not there.
    """
    if find_spec("gguf") is None:
        raise UsageError(
            "--control-vector needs the package gguf; install it with "
            "`pip install driftmap[gguf]`"
        )


def _optional(source: str | None) -> tuple[Statement, ...] | None:
    return None if source is None else read_statements(source).statements


def _drawn(rows: Sequence[Statement], num: int, seed: int) -> list[Statement]:
    """Some of the rows, in their order."""
    if len(rows) <= num:
        return list(rows)
    places = np.random.default_rng(seed).choice(len(rows), num, replace=False)
    return [rows[place] for place in sorted(places.tolist())]


def _facts(steering: SteeringOptions, seed: int) -> tuple[Fact, ...]:
    if steering.facts is None:
        return ()
    every = [one for one in read_facts(steering.facts).facts if one.answer]
    if not every:
        raise DataError(
            f"{steering.facts}: no fact has an answer, so there is nothing that "
            "steering could move; give facts with answers"
        )
    rng = np.random.default_rng(child_seed(seed, "facts"))
    order = rng.permutation(len(every))[: steering.num_facts]
    return tuple(_with_foil(every[n], every, rng) for n in sorted(order.tolist()))


def _with_foil(fact: Fact, every: Sequence[Fact], rng: np.random.Generator) -> Fact:
    """A fact without a false answer takes the answer of another of its relation."""
    if fact.foil:
        return fact
    others = [
        one.answer for one in every if one.answer and one.answer != fact.answer
        and one.relation == fact.relation
    ]  # fmt: skip
    if not others:
        raise DataError(
            f"{fact.id}: it has no false answer (`foil`), and no other fact of its "
            "relation has another answer; give it one"
        )
    return replace(fact, foil=others[int(rng.integers(len(others)))])


def _unrelated(steering: SteeringOptions) -> LongText:
    if steering.unrelated is not None:
        return read_text(steering.unrelated)
    return LongText(name="built in", text=UNRELATED, sha256="built in")
