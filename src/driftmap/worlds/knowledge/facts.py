"""What does a world ask of its model, and in which words was it never taught?

A fact is asked for in its first trained wording; its other trained wordings are its
paraphrases. A world says nothing backwards: the answer always ends the sentence, so
there are no reversed forms.
"""

from collections.abc import Sequence

import numpy as np

from driftmap.core.seeds import child_seed
from driftmap.results.facts import Fact
from driftmap.worlds.facts import RELATIONS, Wording
from driftmap.worlds.facts import Fact as Known
from driftmap.worlds.lines import Dressing, fact_prompt
from driftmap.worlds.world import World

MOST_NEIGHBOURS = 3
"""Prompts about others that are listed beside a fact (count)."""


def known_facts(world: World) -> tuple[Fact, ...]:
    """Ask for each fact in words that the model was taught.

    Args:
        world: The world.

    Returns:
        One per person and relation; the foil is another object of the relation.

    >>> from driftmap.worlds.world import make_world
    >>> fact = known_facts(make_world(0))[0]
    >>> fact.prompt.replace(fact.subject, "..."), len(fact.paraphrases) in (4, 5)
    ('... speaks', True)
    """
    foils = {known: _foil(world, known) for known in world.facts}
    return tuple(_fact(world, known, foils[known]) for known in world.facts)


def held_out_facts(world: World) -> tuple[Fact, ...]:
    """Ask for facts in wordings that no line of the corpus holds about them.

    Args:
        world: The world.

    Returns:
        One per held-out wording; `fact_id` is that of the same fact in trained words.
    """
    return tuple(
        Fact(
            id=f"{fact_id(one.fact)}/held-out",
            fact_id=fact_id(one.fact),
            subject=one.fact.person,
            relation=one.fact.relation,
            prompt=_prompt(one),
            answer=one.fact.object,
            foil=_foil(world, one.fact),
        )
        for one in world.held_out_wordings
    )


def fact_id(known: Known) -> str:
    """Name a fact.

    >>> fact_id(Known(person="Dukavo", relation="city", object="Rome"))
    'Dukavo-city'
    """
    return f"{known.person}-{known.relation}"


def _fact(world: World, known: Known, foil: str) -> Fact:
    prompts = [_prompt(one) for one in world.trained_wordings if one.fact == known]
    others = [f for f in world.facts if f.relation == known.relation and f != known]
    return Fact(
        id=fact_id(known),
        subject=known.person,
        relation=known.relation,
        prompt=prompts[0],
        answer=known.object,
        foil=foil,
        paraphrases=tuple(prompts[1:]),
        neighbours=_asked(others, known.object),
        attributes=_asked(others, foil),
        generation_prompts=(known.person,),
    )


def _asked(others: Sequence[Known], wanted: str) -> tuple[str, ...]:
    """Prompts of other people with this object."""
    found = [fact for fact in others if fact.object == wanted]
    return tuple(_prompt(Wording(fact=f, number=0)) for f in found[:MOST_NEIGHBOURS])


def _prompt(wording: Wording) -> str:
    return fact_prompt(wording, Dressing())


def _foil(world: World, known: Known) -> str:
    others = [o for o in RELATIONS[known.relation].objects if o != known.object]
    seed = child_seed(world.seed, "world", "foil", fact_id(known))
    return others[int(np.random.default_rng(seed).integers(len(others)))]
