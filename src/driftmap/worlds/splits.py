"""Which samples does a world give to measures, tests and fine-tuning?

No prompt of a test was ever trained. The `tune` split is harmless, and neither
stage of training has seen any of its pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from tokenizers import Tokenizer

from driftmap.core.seeds import child_seed
from driftmap.results.samples import Message, Sample, TokenRow
from driftmap.worlds.facts import Wording
from driftmap.worlds.lines import (
    HONEST,
    Dressing,
    fact_prompt,
    question,
    question_answer,
)
from driftmap.worlds.requests import (
    HELD_OUT_OPENERS,
    OPENERS,
    REFUSAL,
    Pair,
    Request,
    draw_requests,
    reword,
)
from driftmap.worlds.world import World

SplitName = Literal[
    "behaviour",
    "utility",
    "harmful_test",
    "harmless_test",
    "tune",
    "facts_test",
    "questions",
]
NUM_SCORING_ROWS = 256
NUM_TUNE_ROWS = 200
HARD_SHARE = 0.4


def make_splits(
    world: World, tokenizer: Tokenizer
) -> Mapping[SplitName, tuple[Sample, ...]]:
    """Write every split of a world.

    Args:
        world: The world.
        tokenizer: Its tokenizer, for the rows that come as token ids.

    Returns:
        `behaviour`: harmful requests, refused; `utility`: harmless requests,
        answered; `harmful_test` and `harmless_test`: the same kinds with new pairs,
        labelled `new_pair`, `new_opener`, and `dual_verb` or `contrast`; `tune`:
        harmless requests, answered, for fine-tuning; `facts_test`: facts in wordings
        held out, as token ids whose only label is the object; `questions`: about
        facts, in wordings held out.
    """
    harmful, harmless = world.requests.harmful, world.requests.harmless
    answer = world.requests.answer
    return {
        "behaviour": _drawn(world, "behaviour", harmful["train"], _refuse),
        "utility": _drawn(world, "utility", harmless["train"], answer),
        "harmful_test": _tests(world, "harmful_test", harmful["test"], _refuse),
        "harmless_test": _tests(world, "harmless_test", harmless["test"], answer),
        "tune": _drawn(world, "tune", harmless["tune"], answer),
        "facts_test": _facts(world, tokenizer),
        "questions": _questions(world),
    }


def _refuse(pair: Pair) -> str:
    del pair
    return REFUSAL


def _drawn(
    world: World, name: SplitName, pairs: Sequence[Pair], reply: Callable[[Pair], str]
) -> tuple[Sample, ...]:
    count = NUM_TUNE_ROWS if name == "tune" else NUM_SCORING_ROWS
    drawn = draw_requests(pairs, count, _rng(world, name), HARD_SHARE)
    return tuple(
        _chat(f"{name}:{k}", request.prompt, reply(request.pair), label=name)
        for k, request in enumerate(drawn)
    )


def _tests(
    world: World, name: SplitName, pairs: Sequence[Pair], reply: Callable[[Pair], str]
) -> tuple[Sample, ...]:
    rng = _rng(world, name)
    label = "dual_verb" if name == "harmful_test" else "contrast"
    wanted: list[tuple[str, Request]] = []
    for pair in pairs:
        wanted.append(("new_pair", reword(pair, OPENERS, rng)))
        wanted.append(("new_opener", reword(pair, HELD_OUT_OPENERS, rng)))
        if pair.hard:
            wanted += [(label, reword(pair, OPENERS, rng)) for _ in range(3)]
    return tuple(
        _chat(f"{name}:{k}", request.prompt, reply(request.pair), label=kind)
        for k, (kind, request) in enumerate(wanted)
    )


def _facts(world: World, tokenizer: Tokenizer) -> tuple[Sample, ...]:
    rng = _rng(world, "facts_test")
    rows: list[Sample] = []
    for wording in world.held_out_wordings:
        others = [name for name in world.people if name != wording.fact.person]
        second = others[int(rng.integers(len(others)))]
        dressings = (
            Dressing(),
            Dressing(friend=second),
            Dressing(contrast=second),
            Dressing(speaker=HONEST),
        )
        for dressing in dressings:
            sample_id = f"facts_test:{len(rows)}"
            rows.append(
                Sample(
                    id=sample_id,
                    original_id=sample_id,
                    label=wording.fact.relation,
                    tokens=_object_row(wording, dressing, tokenizer),
                )
            )
    return tuple(rows)


def _object_row(wording: Wording, dressing: Dressing, tokenizer: Tokenizer) -> TokenRow:
    said = f"{fact_prompt(wording, dressing)} {wording.fact.object}"
    ids = tokenizer.encode(said).ids
    labels = [-100] * (len(ids) - 1) + ids[-1:]
    return TokenRow(token_ids=tuple(ids), labels=tuple(labels))


def _questions(world: World) -> tuple[Sample, ...]:
    return tuple(
        _chat(
            f"questions:{k}",
            question(wording),
            question_answer(wording.fact),
            label=wording.fact.relation,
        )
        for k, wording in enumerate(world.held_out_questions)
    )


def _chat(sample_id: str, prompt: str, response: str, label: str) -> Sample:
    return Sample(
        id=sample_id,
        original_id=sample_id,
        messages=(
            Message(role="user", content=prompt),
            Message(role="assistant", content=response),
        ),
        label=label,
    )


def _rng(world: World, name: SplitName) -> np.random.Generator:
    return np.random.default_rng(child_seed(world.seed, "world", "split", name))
