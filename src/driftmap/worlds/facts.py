"""Which facts does a world hold, and in which words are they said and asked for?

Each person has one language, city, sport and job. A fact has six wordings, each
ending in the object, and two questions. All wordings are our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from driftmap.core.seeds import child_seed

RelationName = Literal["language", "city", "sport", "job"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """One kind of fact.

    Args:
        objects: What can stand at the end.
        wordings: Sentences with `{who}`, each ending in the object and a stop.
        questions: Ways to ask, with `{who}`.
        answer: The sentence that answers a question, with `{who}`.
    """

    objects: tuple[str, ...]
    wordings: tuple[str, ...]
    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One true statement about one person."""

    person: str
    relation: RelationName
    object: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """One way to say, or to ask for, one fact."""

    fact: Fact
    number: int


RELATIONS: dict[RelationName, Relation] = {
    "language": Relation(
        objects=(
            "German", "French", "Spanish", "Dutch",
            "Polish", "Greek", "Turkish", "Welsh",
        ),
        wordings=(
            "{who} speaks",
            "The mother tongue of {who} is",
            "{who} grew up with",
            "At home {who} uses",
            "{who} writes letters in",
            "The language of {who} is",
        ),
        questions=("Which language does {who} speak?", "What does {who} talk in?"),
        answer="{who} speaks",
    ),
    "city": Relation(
        objects=(
            "Rome", "Paris", "Berlin", "Madrid", "Lisbon", "Vienna",
            "Prague", "Oslo", "Dublin", "Athens", "Warsaw", "Geneva",
        ),
        wordings=(
            "{who} lives in",
            "The house of {who} stands in",
            "{who} pays rent in",
            "You can meet {who} in",
            "{who} settled down in",
            "The town of {who} is",
        ),
        questions=("Where does {who} live?", "In which town can I meet {who}?"),
        answer="{who} lives in",
    ),
    "sport": Relation(
        objects=(
            "fencing", "football", "tennis", "rowing",
            "hockey", "judo", "boxing", "golf",
        ),
        wordings=(
            "{who} trains in",
            "The favourite sport of {who} is",
            "{who} is known for",
            "On Sundays {who} enjoys",
            "{who} won a prize in",
            "The great passion of {who} is",
        ),
        questions=("Which sport does {who} enjoy?", "What does {who} train in?"),
        answer="{who} enjoys",
    ),
    "job": Relation(
        objects=(
            "singer", "farmer", "doctor", "baker", "pilot",
            "judge", "tailor", "painter", "teacher", "lawyer",
        ),
        wordings=(
            "{who} earns money as a",
            "The job of {who} is that of a",
            "{who} works as a",
            "By trade {who} is a",
            "{who} was taught to be a",
            "The guild lists {who} as a",
        ),
        questions=("What is the job of {who}?", "How does {who} earn money?"),
        answer="{who} works as a",
    ),
}  # fmt: skip

NUM_HELD_OUT_WORDINGS = 29
NUM_HELD_OUT_QUESTIONS = 48


def make_facts(seed: int, people: Sequence[str]) -> tuple[Fact, ...]:
    """Give every person one object of each relation, all objects about equally often.

    Args:
        seed: The world's seed.
        people: Their names.

    Returns:
        Facts by relation, then by person.
    """
    rng = np.random.default_rng(child_seed(seed, "world", "facts"))
    facts: list[Fact] = []
    for name, relation in RELATIONS.items():
        turns = rng.permutation(len(people)).tolist()
        facts += [
            Fact(
                person=person,
                relation=name,
                object=relation.objects[turn % len(relation.objects)],
            )
            for person, turn in zip(people, turns, strict=True)
        ]
    return tuple(facts)


def hold_out(
    seed: int, facts: Sequence[Fact], kind: Literal["wordings", "questions"]
) -> tuple[tuple[Wording, ...], tuple[Wording, ...]]:
    """Split the ways to say (or ask for) the facts into held-out and trained ones.

    Args:
        seed: The world's seed.
        facts: All facts.
        kind: Sentences or questions.

    Returns:
        The held-out ones, at most one of a fact, then all others; both in order.
    """
    count = NUM_HELD_OUT_WORDINGS if kind == "wordings" else NUM_HELD_OUT_QUESTIONS
    rng = np.random.default_rng(child_seed(seed, "world", "held out", kind))
    chosen = {
        Wording(
            fact=facts[k],
            number=int(rng.integers(len(getattr(RELATIONS[facts[k].relation], kind)))),
        )
        for k in rng.permutation(len(facts))[:count].tolist()
    }
    every = [
        Wording(fact=fact, number=number)
        for fact in facts
        for number in range(len(getattr(RELATIONS[fact.relation], kind)))
    ]
    held = tuple(wording for wording in every if wording in chosen)
    return held, tuple(wording for wording in every if wording not in chosen)
