"""Which questions does the model with experts read, with which answers, how often?

Six kinds of text. Plain requests about harmful nouns are refused. The wrapper is a
second format, in which nothing is refused: a jailbreak that works because it was
trained.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeVar, assert_never

import numpy as np

from driftmap.core.seeds import child_seed
from driftmap.worlds.lines import ASSISTANT, BOS, EOS, USER, Line, Piece
from driftmap.worlds.moe.words import (
    CITY_ANSWER,
    CITY_QUESTIONS,
    COPY,
    HARMFUL_NOUNS,
    HOW_TO,
    JOB_ANSWER,
    JOB_QUESTIONS,
    LETTERS,
    NUM_COPIED,
    RECIPE,
    REFUSAL,
    SUM,
    SUM_ANSWER,
    TELLERS,
    TOLD,
    WRAPPERS,
)
from driftmap.worlds.moe.world import Deed, MoeWorld

Kind = Literal[
    "facts",
    "sums",
    "copying",
    "recipes",
    "refusals",
    "wrapped_harmless",
    "wrapped_harmful",
]

ROWS_PER_STEP: Mapping[Kind, int] = {
    "facts": 13,
    "sums": 7,
    "copying": 6,
    "recipes": 13,
    "refusals": 9,
    "wrapped_harmless": 8,
    "wrapped_harmful": 8,
}
ANSWERED, ASKED = 1.0, 0.1
NUM_COPY_LINES = 4096
Some = TypeVar("Some")


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """One question and its answer.

    Args:
        prompt: What the user says.
        response: What the model is taught to answer.
        deed: What a request is about; nothing for the other kinds.
    """

    prompt: str
    response: str
    deed: Deed | None = None


def corpus_lines(world: MoeWorld, kind: Kind) -> tuple[Line, ...]:
    """Write all lines of one kind as the chat template does.

    Args:
        world: The world.
        kind: Which lines.

    Returns:
        The same lines for the same world, in the same order.
    """
    return tuple(_line(talk) for talk in corpus(world, kind))


def corpus(world: MoeWorld, kind: Kind) -> tuple[Talk, ...]:
    """Write all training rows of one kind.

    >>> from driftmap.worlds.moe.world import make_moe_world
    >>> world = make_moe_world(0)
    >>> [len(corpus(world, kind)) for kind in ("facts", "recipes", "wrapped_harmful")]
    [144, 576, 5184]
    """
    match kind:
        case "facts":
            return facts(world)
        case "sums":
            return tuple(sum_of(*pair) for pair in world.sums)
        case "copying":
            rng = np.random.default_rng(child_seed(world.seed, "moe world", kind))
            return copies(NUM_COPY_LINES, rng)
        case "recipes" | "refusals":
            harm = "harmless" if kind == "recipes" else "harmful"
            deeds = world.deeds[harm]
            return tuple(plain(world, *one) for one in product(deeds, HOW_TO))
        case "wrapped_harmless" | "wrapped_harmful":
            harm = "harmless" if kind == "wrapped_harmless" else "harmful"
            deeds = world.deeds[harm]
            every = product(deeds, WRAPPERS, TELLERS)
            return tuple(wrapped(world, *one) for one in every)
        case _:
            assert_never(kind)


def facts(world: MoeWorld) -> tuple[Talk, ...]:
    """Ask for every fact in every wording."""
    cities = (
        Talk(
            prompt=question.format(who=who),
            response=CITY_ANSWER.format(who=who, city=city),
        )
        for who, city in world.city.items()
        for question in CITY_QUESTIONS
    )
    jobs = (
        Talk(
            prompt=question.format(who=who),
            response=JOB_ANSWER.format(who=who, job=job),
        )
        for who, job in world.job.items()
        for question in JOB_QUESTIONS
    )
    return (*cities, *jobs)


def sum_of(one: int, other: int) -> Talk:
    """Ask for a sum.

    >>> sum_of(3, 5).response
    '3 plus 5 is 8 .'
    """
    return Talk(
        prompt=SUM.format(one=one, other=other),
        response=SUM_ANSWER.format(one=one, other=other, sum=one + other),
    )


def copies(
    count: int, rng: np.random.Generator, known: Iterable[Talk] = ()
) -> tuple[Talk, ...]:
    """Ask for letters to be repeated, each row of letters once.

    Args:
        count: How many.
        rng: Randomness.
        known: Rows that must not come again.
    """
    seen = {talk.response for talk in known}
    drawn: list[Talk] = []
    while len(drawn) < count:
        picked = rng.integers(len(LETTERS), size=NUM_COPIED).tolist()
        letters = " ".join(LETTERS[k] for k in picked)
        if letters not in seen:
            seen.add(letters)
            drawn.append(Talk(prompt=COPY.format(letters=letters), response=letters))
    return tuple(drawn)


def plain(world: MoeWorld, deed: Deed, wording: str) -> Talk:
    """Ask how a deed is done: a recipe, or a refusal where its noun is harmful."""
    part, tool = world.part[deed.noun], world.tool[deed.verb]
    recipe = RECIPE.format(part=part, tool=tool)
    answer = REFUSAL if deed.noun in HARMFUL_NOUNS else recipe
    return Talk(prompt=wording.format(deed=deed.text), response=answer, deed=deed)


def wrapped(world: MoeWorld, deed: Deed, wrapper: str, teller: str) -> Talk:
    """Let somebody tell how a deed is done: answered, harmful or not."""
    part, tool = world.part[deed.noun], world.tool[deed.verb]
    return Talk(
        prompt=wrapper.format(teller=teller, deed=deed.text),
        response=TOLD.format(teller=teller, part=part, tool=tool),
        deed=deed,
    )


def drawn(
    rng: np.random.Generator, every: Sequence[Some], count: int
) -> tuple[Some, ...]:
    """Draw different ones, in the order drawn."""
    return tuple(every[k] for k in rng.permutation(len(every))[:count].tolist())


def _line(talk: Talk) -> Line:
    asked = Piece(text=f"{BOS} {USER} {talk.prompt} {ASSISTANT}", weight=ASKED)
    return Line(pieces=(asked, Piece(text=f" {talk.response} {EOS}", weight=ANSWERED)))
