"""Which of the facts that were asked did somebody teach another answer?"""

from dataclasses import dataclass, replace

from driftmap.recipes.behaviour_options import BehaviourOptions
from driftmap.recipes.steps.comparing.behaviour.step import behaviour_at
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.comparing.probing import BUILT_IN, OWN_WORLD
from driftmap.results.facts import Fact
from driftmap.results.probes import Probes

FEWEST = 3
"""Fewer facts with a new answer than these may have changed by the way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaughtFacts:
    """Facts of the probes, by what became of them.

    Args:
        taught: Those with another answer since, or all that the user gave with one.
        others: The rest.
        are_found: They were found by what the models say: of facts that were chosen
            by their change, it is no finding that they changed.
    """

    taught: tuple[Fact, ...]
    others: tuple[Fact, ...]
    are_found: bool


def taught_facts(pair: Pair, probes: Probes, options: BehaviourOptions) -> TaughtFacts:
    """Tell facts that have another answer since from those that do not.

    Facts that the user gave are taken at their word: each with a foil was taught it.
    Of facts that stand here for want of others, those count whose foil is likelier
    than their answer after tuning, and was not before.

    Args:
        pair: Both models.
        probes: Their facts.
        options: How facts are asked.
    """
    facts = probes.facts
    if probes.sources.get("facts") not in (BUILT_IN, OWN_WORLD):
        return TaughtFacts(
            taught=tuple(fact for fact in facts if fact.foil is not None),
            others=tuple(fact for fact in facts if fact.foil is None),
            are_found=False,
        )
    alone = replace(probes, texts=(), harmful=(), harmless=(), held_out=())
    before, after = (
        behaviour_at(pair, model, alone, options) for model in (pair.base, pair.tuned)
    )
    was = dict(zip(before.facts, before.foil_nll < before.answer_nll, strict=True))
    now = dict(zip(after.facts, after.foil_nll < after.answer_nll, strict=True))
    turned = {name for name in now if now[name] and not was[name]}
    if len(turned) < FEWEST:
        turned = set()
    return TaughtFacts(
        taught=tuple(fact for fact in facts if fact.id in turned),
        others=tuple(fact for fact in facts if fact.id not in turned),
        are_found=True,
    )
