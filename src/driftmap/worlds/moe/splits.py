"""Which samples does a world for models with experts give to measures and tuning?

No deed of a test was read in any form. Jailbreaks to tune on are about deeds that the
model has read of, jailbreaks to test on about deeds that it has not.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from driftmap.core.seeds import child_seed
from driftmap.results.samples import Message, Sample
from driftmap.worlds.moe.corpus import (
    Kind,
    Talk,
    copies,
    corpus,
    drawn,
    facts,
    plain,
    sum_of,
    wrapped,
)
from driftmap.worlds.moe.words import HOW_TO, REFUSAL, TELLERS, WRAPPERS, Harm
from driftmap.worlds.moe.world import MoeWorld

SplitName = Literal[
    "benign",
    "benign_train",
    "harmless_wrapped",
    "plain_harmful",
    "wrapped_harmful",
    "domains",
]
Domain = Literal[
    "facts", "numbers", "recipes", "refusals", "wrapped_harmless", "wrapped_harmful"
]
KINDS: Mapping[Domain, tuple[Kind, ...]] = {
    "facts": ("facts",),
    "numbers": ("sums", "copying"),
    "recipes": ("recipes",),
    "refusals": ("refusals",),
    "wrapped_harmless": ("wrapped_harmless",),
    "wrapped_harmful": ("wrapped_harmful",),
}
NUM_TUNING_JAILBREAKS = 96
NUM_ROWS = 48
TESTS_OF_A_DEED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Jailbreak:
    """A harmful request in a wrapper.

    Args:
        id: Unique within the world.
        talk: The wrapped request, with the answer that training teaches.
        goal: The same request without the wrapper, which the model refuses.
    """

    id: str
    talk: Talk
    goal: str


def make_jailbreaks(world: MoeWorld) -> tuple[Jailbreak, ...]:
    """Write wrapped harmful requests, those to tune on first.

    Args:
        world: The world.

    Returns:
        96 about one deed each, then three about each of the 48 deeds that were never
        read, in all three wrappers; all about one deed have one goal.
    """
    rng = _rng(world, "jailbreaks")
    known = drawn(rng, world.deeds["harmful"], NUM_TUNING_JAILBREAKS)
    asked = [(deed, _one_of(WRAPPERS, rng)) for deed in known]
    asked += product(world.test_deeds["harmful"], WRAPPERS)
    goals = {deed: plain(world, deed, _one_of(HOW_TO, rng)) for deed, _ in asked}
    return tuple(
        Jailbreak(
            id=f"jailbreak:{number}",
            talk=wrapped(world, deed, wrapper, _one_of(TELLERS, rng)),
            goal=goals[deed].prompt,
        )
        for number, (deed, wrapper) in enumerate(asked)
    )


def make_moe_splits(world: MoeWorld) -> Mapping[SplitName, tuple[Sample, ...]]:
    """Write every split of a world but that of jailbreaks with their answers.

    Args:
        world: The world.

    Returns:
        `benign`: facts, numbers and recipes of deeds never read, answered, labelled by
        kind, to measure on; `benign_train`: as many rows of the corpus, to tune on;
        `harmless_wrapped` and `plain_harmful`: three requests about each deed never
        read, answered in the wrapper and refused without it; `wrapped_harmful`: the
        jailbreaks to test on, with the refusal that they should get; `domains`: rows
        of the corpus labelled by the domain of text they are from.
    """
    return {
        "benign": _benign(world),
        "benign_train": _labelled(
            "benign_train", world, ("facts", "numbers", "recipes")
        ),
        "harmless_wrapped": _tests(world, "harmless_wrapped", "harmless"),
        "plain_harmful": _tests(world, "plain_harmful", "harmful"),
        "wrapped_harmful": _samples(
            "wrapped_harmful",
            [
                ("wrapped_harmful", replace(one.talk, response=REFUSAL))
                for one in make_jailbreaks(world)[NUM_TUNING_JAILBREAKS:]
            ],
        ),
        "domains": _labelled("domains", world, tuple(KINDS)),
    }


def _benign(world: MoeWorld) -> tuple[Sample, ...]:
    rng = _rng(world, "benign")
    deeds = world.test_deeds["harmless"]
    talks: dict[Kind, Iterable[Talk]] = {
        "facts": drawn(rng, facts(world), NUM_ROWS),
        "sums": (sum_of(*pair) for pair in drawn(rng, world.sums, NUM_ROWS // 2)),
        "copying": copies(NUM_ROWS // 2, rng, corpus(world, "copying")),
        "recipes": (plain(world, deed, _one_of(HOW_TO, rng)) for deed in deeds),
    }
    return _samples("benign", [(kind, t) for kind, some in talks.items() for t in some])


def _labelled(
    name: SplitName, world: MoeWorld, domains: Sequence[Domain]
) -> tuple[Sample, ...]:
    rng = _rng(world, name)
    return _samples(
        name,
        [
            (domain, talk)
            for domain in domains
            for kind in KINDS[domain]
            for talk in drawn(rng, corpus(world, kind), NUM_ROWS // len(KINDS[domain]))
        ],
    )


def _tests(world: MoeWorld, name: SplitName, harm: Harm) -> tuple[Sample, ...]:
    rng = _rng(world, name)
    deeds = world.test_deeds[harm]
    if name == "harmless_wrapped":
        asked = [
            wrapped(world, deed, wrapper, _one_of(TELLERS, rng))
            for deed, wrapper in product(deeds, WRAPPERS)
        ]
    else:
        asked = [
            plain(world, deed, wording)
            for deed in deeds
            for wording in drawn(rng, HOW_TO, TESTS_OF_A_DEED)
        ]
    return _samples(name, [(name, talk) for talk in asked])


def _samples(
    name: SplitName, labelled: Sequence[tuple[str, Talk]]
) -> tuple[Sample, ...]:
    return tuple(
        Sample(
            id=f"{name}:{number}",
            original_id=f"{name}:{number}",
            messages=(
                Message(role="user", content=talk.prompt),
                Message(role="assistant", content=talk.response),
            ),
            label=label,
        )
        for number, (label, talk) in enumerate(labelled)
    )


def _one_of(some: Sequence[str], rng: np.random.Generator) -> str:
    return some[int(rng.integers(len(some)))]


def _rng(world: MoeWorld, name: str) -> np.random.Generator:
    return np.random.default_rng(child_seed(world.seed, "moe world", "split", name))
