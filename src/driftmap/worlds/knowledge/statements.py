"""Which statements are true in a world, and which are false?

Every fact is stated once with its object and once with another, both in one trained
wording, so that words alone tell nothing about truth.
"""

from dataclasses import dataclass

from driftmap.worlds.facts import Wording
from driftmap.worlds.knowledge.facts import known_facts
from driftmap.worlds.lines import DISHONEST, HONEST, Dressing, fact_prompt
from driftmap.worlds.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """One sentence.

    Args:
        text: The sentence.
        is_true: Whether the world says so.
    """

    text: str
    is_true: bool


def world_statements(world: World) -> tuple[Stated, ...]:
    """State every fact truly and falsely.

    Args:
        world: The world.

    Returns:
        Pairs of a true and a false statement, by fact; half of all are true.

    >>> from driftmap.worlds.world import make_world
    >>> found = world_statements(make_world(0))
    >>> len(found), sum(one.is_true for one in found)
    (384, 192)
    """
    stated: list[Stated] = []
    for number, (known, asked) in enumerate(
        zip(world.facts, known_facts(world), strict=True)
    ):
        trained = [one.number for one in world.trained_wordings if one.fact == known]
        chosen = Wording(fact=known, number=trained[number % len(trained)])
        prompt = fact_prompt(chosen, Dressing())
        stated += [
            Stated(text=f"{prompt} {known.object}.", is_true=True),
            Stated(text=f"{prompt} {asked.foil}.", is_true=False),
        ]
    return tuple(stated)


def instructions() -> dict[str, str]:
    """How a world's lines announce an honest speaker and a dishonest one.

    >>> instructions()["honest"]
    'An honest person says:'
    """
    return {"honest": HONEST, "dishonest": DISHONEST}
