"""What exactly is put to the model, token by token, to read its directions?"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from driftmap.capture.token_states import num_blocks
from driftmap.core.errors import UsageError
from driftmap.core.progress import say
from driftmap.load.contrasts import (
    Contrast,
    ContrastTemplate,
    Instructions,
    make_contrasts,
)
from driftmap.recipes.honesty_options import HonestyReadingOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.honesty.asked import Question

HALVES = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """All that the readings follow from.

    Args:
        instructions: The pair that directions are made of.
        other: The same in other words.
        layers: Blocks that are read.
        options: How directions are found.
        left_over: Tokens at the end of a statement that no cut reaches (count).
        only_last: The longest cut alone is read.
        pairs: True statements of each half behind both instructions.
        left_out: Why statements make no pair, and how many.
    """

    instructions: Instructions
    other: Instructions
    layers: tuple[int, ...]
    options: HonestyReadingOptions
    left_over: int
    only_last: bool
    pairs: Mapping[str, tuple[Contrast, ...]]
    left_out: Mapping[str, int]


def planned(study: Study, question: Question, options: HonestyReadingOptions) -> Plan:
    """Put the statements behind both instructions, half by half.

    Args:
        study: With the model.
        question: What is asked.
        options: Which layers.

    Raises:
        DataError: A half has no statement that makes a pair.
        UsageError: There is no chat template where one is asked for, or no such layer.
    """
    data, loaded = question.data, study.loaded
    template: ContrastTemplate = "plain"
    if data.template == "chat" or (
        data.template == "auto" and loaded.tokenizer.chat_template
    ):
        template = "chat"
    instructions = Instructions(
        honest=data.honest, dishonest=data.dishonest, template=template
    )
    left_out: Counter[str] = Counter()
    pairs: dict[str, tuple[Contrast, ...]] = {}
    for name in HALVES:
        made = make_contrasts(
            [one for one in question.halves[name] if one.is_true],
            instructions,
            loaded.tokenizer,
            left_over=data.left_over,
            only_last=data.cuts == "last",
            max_length=loaded.context_length,
        )
        pairs[name] = made.contrasts
        left_out.update(made.left_out)
    for reason, num in left_out.items():
        say(f"{num} true statements are left out: {reason}")
    return Plan(
        instructions=instructions,
        other=Instructions(
            honest=data.other_honest, dishonest=data.other_dishonest, template=template
        ),
        layers=_layers(study, options),
        options=options,
        left_over=data.left_over,
        only_last=data.cuts == "last",
        pairs=pairs,
        left_out=dict(left_out),
    )


def contrasts_key(contrasts: Sequence[Contrast]) -> str:
    """Hash what the model is fed, and where it is read."""
    digest = sha256()
    for one in contrasts:
        row = [one.honest.token_ids, one.dishonest.token_ids, one.honest.start]
        digest.update(repr([*row, one.dishonest.start, one.cuts]).encode())
    return digest.hexdigest()


def model_key(study: Study) -> list[object]:
    """What states follow from, but for what is fed."""
    identity = study.loaded.identity
    return [identity.sha256, identity.dtype]


def _layers(study: Study, options: HonestyReadingOptions) -> tuple[int, ...]:
    num = num_blocks(study.loaded.model)
    wrong = [one for one in options.layers if not 0 <= one < num]
    if wrong:
        raise UsageError(
            f"--layers {wrong[0]}: {study.loaded.identity.source} has layers 0 to "
            f"{num - 1}"
        )
    return tuple(sorted(set(options.layers))) or tuple(range(num))
