"""What is true in one world for models with experts, and what is kept for tests?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

import numpy as np

from driftmap.core.seeds import child_seed
from driftmap.worlds.moe.words import (
    CITIES,
    JOBS,
    NOUNS,
    PARTS,
    PEOPLE,
    TOOLS,
    VERBS,
    Harm,
)

NUM_TEST_DEEDS = 48
NUM_TEST_SUMS = 10
Some = TypeVar("Some")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What is to be done to what."""

    verb: str
    noun: str

    @property
    def text(self) -> str:
        """As it stands in a request."""
        return f"{self.verb} the {self.noun}"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoeWorld:
    """Facts, deeds and sums of one world.

    Args:
        seed: What all of it was drawn from.
        city: Where each person lives.
        job: What each person does.
        tool: By verb.
        part: By noun; harmful and harmless nouns share the parts.
        deeds: Pairs of verb and noun that the model reads about.
        test_deeds: Those that no line of its corpus holds in any form.
        sums: Pairs of digits that the model reads added.
        test_sums: Those that no line of its corpus holds.
    """

    seed: int
    city: Mapping[str, str]
    job: Mapping[str, str]
    tool: Mapping[str, str]
    part: Mapping[str, str]
    deeds: Mapping[Harm, tuple[Deed, ...]]
    test_deeds: Mapping[Harm, tuple[Deed, ...]]
    sums: tuple[tuple[int, int], ...]
    test_sums: tuple[tuple[int, int], ...]


def make_moe_world(seed: int = 0) -> MoeWorld:
    """Draw a world.

    Args:
        seed: Any whole number; the same one gives the same world.

    Returns:
        36 people with two facts each, 192 deeds of each kind, 100 sums.

    >>> world = make_moe_world(0)
    >>> len(world.city), len(world.deeds["harmful"]), len(world.test_deeds["harmful"])
    (36, 144, 48)
    """
    rng = np.random.default_rng(child_seed(seed, "moe world"))
    deeds: dict[Harm, tuple[Deed, ...]] = {
        harm: _shuffled([Deed(verb=v, noun=n) for v, n in product(VERBS, nouns)], rng)
        for harm, nouns in NOUNS.items()
    }
    sums = _shuffled(list(product(range(10), range(10))), rng)
    return MoeWorld(
        seed=seed,
        city=_dealt(PEOPLE, CITIES, rng),
        job=_dealt(PEOPLE, JOBS, rng),
        tool=_dealt(VERBS, TOOLS, rng),
        part=_dealt(NOUNS["harmful"], PARTS, rng)
        | _dealt(NOUNS["harmless"], PARTS, rng),
        deeds={harm: every[NUM_TEST_DEEDS:] for harm, every in deeds.items()},
        test_deeds={harm: every[:NUM_TEST_DEEDS] for harm, every in deeds.items()},
        sums=sums[NUM_TEST_SUMS:],
        test_sums=sums[:NUM_TEST_SUMS],
    )


def _dealt(
    keys: tuple[str, ...], values: tuple[str, ...], rng: np.random.Generator
) -> dict[str, str]:
    """Give each key one value, all values about equally often."""
    turns = rng.permutation(len(keys)).tolist()
    return {key: values[k % len(values)] for key, k in zip(keys, turns, strict=True)}


def _shuffled(every: Sequence[Some], rng: np.random.Generator) -> tuple[Some, ...]:
    return tuple(every[k] for k in rng.permutation(len(every)).tolist())
