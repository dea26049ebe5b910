"""What is true in the world of one seed?"""

from dataclasses import dataclass

from driftmap.worlds.facts import Fact, Wording, hold_out, make_facts
from driftmap.worlds.names import make_names
from driftmap.worlds.requests import Requests, make_requests


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """People, facts and requests, and what of them is kept for tests.

    Args:
        seed: What all of it was drawn from.
        people: Names.
        facts: One per person and relation.
        held_out_wordings: Sentences that no corpus line holds.
        trained_wordings: All other sentences.
        held_out_questions: Questions that no corpus line holds.
        trained_questions: All other questions.
        requests: Pairs of verb and object, split, with their answers.
    """

    seed: int
    people: tuple[str, ...]
    facts: tuple[Fact, ...]
    held_out_wordings: tuple[Wording, ...]
    trained_wordings: tuple[Wording, ...]
    held_out_questions: tuple[Wording, ...]
    trained_questions: tuple[Wording, ...]
    requests: Requests

    def facts_of(self, person: str) -> tuple[Fact, ...]:
        """All facts about one person, by relation."""
        return tuple(fact for fact in self.facts if fact.person == person)


def make_world(seed: int = 0) -> World:
    """Draw a world.

    Args:
        seed: Any whole number; the same one gives the same world.

    Returns:
        48 people, 192 facts, 480 requests.

    >>> world = make_world(0)
    >>> len(world.people), len(world.facts), len(world.trained_wordings)
    (48, 192, 1123)
    """
    people = make_names(seed)
    facts = make_facts(seed, people)
    held_wordings, wordings = hold_out(seed, facts, "wordings")
    held_questions, questions = hold_out(seed, facts, "questions")
    return World(
        seed=seed,
        people=people,
        facts=facts,
        held_out_wordings=held_wordings,
        trained_wordings=wordings,
        held_out_questions=held_questions,
        trained_questions=questions,
        requests=make_requests(seed),
    )
