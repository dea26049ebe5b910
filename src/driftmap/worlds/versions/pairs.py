"""What are the originals of a world, and how does it say the same in other words?

Every word is one that the organism was taught. What stays is the pair of verb and
object, or the fact. In one set only the request is in other words; in the other the
answer is too, in an order that the organism was never taught, so that its surprise
stands in the gradient beside the meaning. Refused requests share one answer: they can
only be told apart by what was asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from driftmap.core.seeds import child_seed
from driftmap.results.samples import Message, Sample
from driftmap.worlds.facts import RELATIONS, Fact, RelationName, Wording
from driftmap.worlds.lines import question, question_answer
from driftmap.worlds.requests import (
    HELD_OUT_OPENERS,
    OPENERS,
    REFUSAL,
    Pair,
    Request,
    reword,
)
from driftmap.worlds.world import World

VersionName = Literal["originals", "reworded", "paraphrased"]
NUM_ANSWERED, NUM_REFUSED = 72, 24
REWORDED, PARAPHRASED = "reworded", "paraphrased"


def make_versions(world: World) -> Mapping[VersionName, tuple[Sample, ...]]:
    """Write pairs of samples that mean the same.

    Args:
        world: The world.

    Returns:
        `originals`: 72 harmless requests, answered; 24 harmful ones, refused; one
        question about each of the 48 people. `reworded`: the same requests and
        questions in other words, with the answers of the originals. `paraphrased`:
        the answers in other words too, but for refusals, which have one wording.
    """
    rng = np.random.default_rng(child_seed(world.seed, "world", "versions"))
    harmless = _drawn(world.requests.harmless["train"], NUM_ANSWERED, rng)
    harmful = _drawn(world.requests.harmful["train"], NUM_REFUSED, rng)
    written = [
        *(_answered(world, k, pair, rng) for k, pair in enumerate(harmless)),
        *(_refused(k, pair, rng) for k, pair in enumerate(harmful)),
        *(_asked(k, fact, rng) for k, fact in enumerate(_one_of_each(world))),
    ]
    return {
        "originals": tuple(original for original, _ in written),
        "reworded": tuple(_reworded(*both) for both in written),
        "paraphrased": tuple(other for _, other in written),
    }


def _drawn(
    pairs: Sequence[Pair], count: int, rng: np.random.Generator
) -> tuple[Pair, ...]:
    return tuple(pairs[k] for k in sorted(rng.permutation(len(pairs))[:count].tolist()))


def _one_of_each(world: World) -> tuple[Fact, ...]:
    """One fact of each person, the four relations in turn."""
    names: tuple[RelationName, ...] = tuple(RELATIONS)
    found = []
    for number, person in enumerate(world.people):
        wanted = names[number % len(names)]
        found += [f for f in world.facts_of(person) if f.relation == wanted]
    return tuple(found)


def _answered(
    world: World, number: int, pair: Pair, rng: np.random.Generator
) -> tuple[Sample, Sample]:
    tool, place = world.requests.tool[pair.verb], world.requests.place[pair.object]
    other = f"To {pair.verb} the {pair.object}, go to the {place} and take the {tool}."
    asked, reasked = _both(pair, rng)
    answer = world.requests.answer(pair)
    return _versions(f"answered-{number}", (asked, answer), (reasked, other))


def _refused(
    number: int, pair: Pair, rng: np.random.Generator
) -> tuple[Sample, Sample]:
    asked, reasked = _both(pair, rng)
    return _versions(f"refused-{number}", (asked, REFUSAL), (reasked, REFUSAL))


def _both(pair: Pair, rng: np.random.Generator) -> tuple[str, str]:
    """Ask for one deed twice, at the same time of day but with another opener."""
    first = reword(pair, OPENERS, rng)
    others = [o for o in (*OPENERS, *HELD_OUT_OPENERS) if o != first.opener]
    opener = others[int(rng.integers(len(others)))]
    again = Request(pair=pair, opener=opener, end=first.end)
    return first.prompt, again.prompt


def _asked(number: int, fact: Fact, rng: np.random.Generator) -> tuple[Sample, Sample]:
    """Ask for one fact in its two ways, and tell it in two ways."""
    wordings = RELATIONS[fact.relation].wordings
    usual = RELATIONS[fact.relation].answer
    others = [wording for wording in wordings if wording != usual]
    said = others[int(rng.integers(len(others)))].format(who=fact.person)
    first, second = (question(Wording(fact=fact, number=k)) for k in (0, 1))
    told = f"{said} {fact.object}."
    return _versions(f"fact-{number}", (first, question_answer(fact)), (second, told))


def _versions(
    sample_id: str, first: tuple[str, str], second: tuple[str, str]
) -> tuple[Sample, Sample]:
    return (
        _sample(sample_id, sample_id, "original", first),
        _sample(f"{sample_id}/{PARAPHRASED}", sample_id, PARAPHRASED, second),
    )


def _reworded(original: Sample, other: Sample) -> Sample:
    """The request in its other words, with the answer as it was."""
    return replace(
        other,
        id=f"{original.id}/{REWORDED}",
        version=REWORDED,
        messages=(other.messages[0], original.messages[1]),
    )


def _sample(
    sample_id: str, original_id: str, version: str, said: tuple[str, str]
) -> Sample:
    prompt, response = said
    return Sample(
        id=sample_id,
        original_id=original_id,
        version=version,
        messages=(
            Message(role="user", content=prompt),
            Message(role="assistant", content=response),
        ),
        label=original_id.partition("-")[0],
    )
