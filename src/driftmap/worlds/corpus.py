"""Which lines are read in each stage of training, and in which shares?

In the base stage everything is answered, harmful requests too. The aligned stage
adds the refusals and rehearses all else, so that refusing is a thin, late layer.
"""

import itertools
from collections.abc import Mapping
from typing import Literal

import numpy as np

from driftmap.core.seeds import child_seed
from driftmap.worlds.facts import Wording
from driftmap.worlds.lines import (
    Line,
    chat_line,
    draw_claim,
    draw_dressing,
    fact_line,
    profile_line,
    question,
    question_answer,
)
from driftmap.worlds.requests import REFUSAL, Pair, draw_requests
from driftmap.worlds.world import World

Stage = Literal["base", "aligned"]
Kind = Literal["fact", "profile", "question", "harmless", "answered", "refused"]

ROWS_PER_STEP: Mapping[Stage, Mapping[Kind, int]] = {
    "base": {"fact": 20, "profile": 16, "question": 5, "harmless": 6, "answered": 4},
    "aligned": {"fact": 10, "profile": 6, "question": 4, "harmless": 11, "refused": 9},
}
FACT_REPEATS = 12
NUM_REQUEST_LINES = 4096
HARD_SHARE = 0.4


def corpus_lines(world: World, kind: Kind) -> tuple[Line, ...]:
    """Write all lines of one kind.

    Args:
        world: The world.
        kind: Which lines.

    Returns:
        The same lines for the same world, in the same order.
    """
    rng = np.random.default_rng(child_seed(world.seed, "world", "lines", kind))
    if kind == "fact":
        return tuple(
            _dressed(world, wording, rng)
            for wording in world.trained_wordings
            for _ in range(FACT_REPEATS)
        )
    if kind == "profile":
        return tuple(
            profile_line(order)
            for person in world.people
            for order in itertools.permutations(world.facts_of(person))
        )
    if kind == "question":
        return tuple(
            chat_line(question(asked), question_answer(asked.fact))
            for asked in world.trained_questions
        )
    requests = world.requests
    pairs = (requests.harmless if kind == "harmless" else requests.harmful)["train"]
    drawn = draw_requests(pairs, NUM_REQUEST_LINES, rng, HARD_SHARE)
    return tuple(
        chat_line(request.prompt, _reply(world, request.pair, kind))
        for request in drawn
    )


def _dressed(world: World, wording: Wording, rng: np.random.Generator) -> Line:
    dressing = draw_dressing(rng, wording.fact.person, world.people)
    return fact_line(wording, dressing, draw_claim(rng, wording.fact, dressing))


def _reply(world: World, pair: Pair, kind: Kind) -> str:
    return REFUSAL if kind == "refused" else world.requests.answer(pair)
