"""What does a model give for every token of the texts, given or its own?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import cast

import numpy as np
from transformers import PreTrainedModel

from driftmap.capture.readings import (
    Windows,
    drawing,
    greedy,
    read_tokens,
    read_while_writing,
)
from driftmap.core.errors import DataError, UsageError
from driftmap.core.progress import progress, say
from driftmap.core.seeds import child_seed
from driftmap.core.shortage import explained
from driftmap.evaluate.generate import end_ids
from driftmap.load.encoding import turn_ends
from driftmap.load.model import LoadedModel
from driftmap.load.spelled import spell, spell_answer, spell_prompt
from driftmap.load.templates import Opening
from driftmap.recipes.reading_options import ReadingOptions, TextOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.readings.files import (
    MODEL_FILE,
    MODEL_KIND,
    READ_STEP,
    READINGS,
    READINGS_KIND,
    TOKENS,
)
from driftmap.recipes.steps.readings.texts import AskedText
from driftmap.results.plain import to_plain
from driftmap.results.reading_study import ReadingSet
from driftmap.results.readings import SpelledText, TokenNumbers, TokenReadings
from driftmap.results.table import Table
from driftmap.store.arrays_apart import save_apart
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table

WINDOW = 2048
"""Tokens read at once where a model can, as most published perplexities have it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """All that the readings follow from.

    Args:
        spelled: Texts and prompts as tokens.
        is_prompt: By text: the model goes on from it.
        windows: How long texts are cut.
        writing: What answers are like.
        num_top: Most likely tokens that are kept (count).
    """

    spelled: tuple[SpelledText, ...]
    is_prompt: tuple[bool, ...]
    windows: Windows
    writing: TextOptions
    num_top: int


def planned(
    study: Study,
    asked: Sequence[AskedText],
    writing: TextOptions,
    options: ReadingOptions,
) -> Plan:
    """Turn texts into tokens, and settle the window.

    Args:
        study: With the model.
        asked: Texts and prompts.
        writing: What answers are like.
        options: Window and stride.

    Raises:
        DataError: A text is empty, or a prompt leaves no room for its answer.
        UsageError: The window is longer than what the model reads at once.
    """
    loaded = study.loaded
    opening = Opening(template=writing.template)
    spelled = tuple(
        spell_prompt(one.name, one.text, loaded.tokenizer, opening)
        if one.is_prompt
        else spell(one.name, one.text, loaded.tokenizer)
        for one in asked
    )
    _require_room(loaded, asked, spelled, writing)
    plan = Plan(
        spelled=spelled,
        is_prompt=tuple(one.is_prompt for one in asked),
        windows=_windows(loaded, options),
        writing=writing,
        num_top=options.top,
    )
    if not all(one.has_begin for one in spelled):
        say(
            "the tokenizer puts nothing before a text, so the first token of each has "
            "no reading"
        )
    return plan


def read_step(study: Study, plan: Plan) -> StepOutcome:
    """Read all texts, and let the model write what it was asked for."""
    identity = study.loaded.identity

    def make(folder: Path) -> None:
        with explained("reading tokens", "repeat with a smaller --window"):
            readings = _readings(study, plan)
        save_apart(folder, READINGS, ReadingSet(readings=readings), READINGS_KIND)
        save_table(folder / TOKENS, _table(readings))
        save_json(folder / MODEL_FILE, {"model": to_plain(identity)}, MODEL_KIND)

    inputs = {
        "model": [identity.sha256, identity.dtype],
        "texts": [_key(one) for one in plan.spelled],
        "is_prompt": list(plan.is_prompt),
        "windows": [plan.windows.window, plan.windows.stride],
        "writing": _writing_key(study, plan),
        "top": plan.num_top,
    }
    return study.run.step(READ_STEP, inputs, make)


def _readings(study: Study, plan: Plan) -> tuple[TokenReadings, ...]:
    loaded = study.loaded
    given = [n for n, is_prompt in enumerate(plan.is_prompt) if not is_prompt]
    numbers = read_tokens(
        loaded.model,
        [plan.spelled[n].token_ids for n in given],
        plan.windows,
        num_top=plan.num_top,
        batch_size=max(1, WINDOW // plan.windows.window),
    )
    found = {
        n: _with_words(loaded, plan, plan.spelled[n], one, is_generated=False)
        for n, one in zip(given, numbers, strict=True)
    }
    asked = [n for n, is_prompt in enumerate(plan.is_prompt) if is_prompt]
    if asked:
        ends = _ends(loaded)
        with progress("write answers", len(asked)) as bar:
            for n in asked:
                found[n] = _answer(study, plan, plan.spelled[n], ends)
                bar.advance()
    return tuple(found[n] for n in range(len(plan.spelled)))


def _table(readings: Sequence[TokenReadings]) -> Table:
    """One row per token, for other programs."""
    return Table.joined([_rows(one) for one in readings])


def _rows(readings: TokenReadings) -> Table:
    spelled, numbers = readings.spelled, readings.numbers
    num = readings.num_tokens
    return Table(
        columns={
            "text": np.array([readings.name] * num),
            "token": np.arange(num),
            "token_id": spelled.token_ids,
            "start": spelled.spans[:, 0],
            "stop": spelled.spans[:, 1],
            "counts": np.arange(num) >= spelled.num_context,
            "surprise_nats": numbers.surprise,
            "entropy_nats": numbers.entropy,
            "rank": numbers.rank,
        }
    )


def _answer(
    study: Study, plan: Plan, prompt: SpelledText, ends: Sequence[int]
) -> TokenReadings:
    loaded, writing = study.loaded, plan.writing
    choose = greedy
    if writing.temperature > 0:
        seed = child_seed(study.seed, "read", prompt.name)
        choose = drawing(writing.temperature, np.random.default_rng(seed))
    written = read_while_writing(
        loaded.model,
        prompt.token_ids,
        choose,
        ends=ends,
        max_new_tokens=writing.max_new_tokens,
        num_top=plan.num_top,
    )
    whole = spell_answer(prompt, written.token_ids, loaded.tokenizer)
    return _with_words(loaded, plan, whole, written.numbers, is_generated=True)


def _with_words(
    loaded: LoadedModel,
    plan: Plan,
    spelled: SpelledText,
    numbers: TokenNumbers,
    *,
    is_generated: bool,
) -> TokenReadings:
    at_once = max(2, spelled.token_ids.size)
    return TokenReadings(
        spelled=spelled,
        numbers=numbers,
        tops=tuple(
            tuple(token_text(loaded, token) for token in row if token >= 0)
            for row in numbers.top_ids.tolist()
        ),
        window=at_once if is_generated else plan.windows.window,
        stride=1 if is_generated else plan.windows.stride,
        is_generated=is_generated,
    )


def token_text(loaded: LoadedModel, token: int) -> str:
    """A single token as text, with its space."""
    shown = loaded.tokenizer.convert_ids_to_tokens(token)
    if isinstance(shown, str) and shown.startswith("\u2581"):
        # Decoders drop the space of a text's first piece.
        return " " + str(loaded.tokenizer.decode([token])).removeprefix(" ")
    return str(loaded.tokenizer.decode([token]))


def _ends(loaded: LoadedModel) -> tuple[int, ...]:
    ends = end_ids(cast(PreTrainedModel, loaded.model), loaded.tokenizer)
    more = turn_ends(loaded.tokenizer) if loaded.tokenizer.chat_template else ()
    return tuple(sorted({*ends, *more}))


def _windows(loaded: LoadedModel, options: ReadingOptions) -> Windows:
    most = loaded.context_length
    if options.window is not None and most is not None and options.window > most:
        raise UsageError(
            f"--window {options.window}: {loaded.identity.source} reads at most {most} "
            f"tokens at once; give at most {most}"
        )
    window = options.window or min(most or WINDOW, WINDOW)
    stride = options.stride if options.stride is not None else window // 2
    return Windows(window=window, stride=stride)


def _require_room(
    loaded: LoadedModel,
    asked: Sequence[AskedText],
    spelled: Sequence[SpelledText],
    writing: TextOptions,
) -> None:
    most = loaded.context_length
    for one, tokens in zip(asked, spelled, strict=True):
        size = tokens.token_ids.size
        if most is None or not one.is_prompt or size + writing.max_new_tokens <= most:
            continue
        raise DataError(
            f"{one.name}: its {size} tokens and {writing.max_new_tokens} new ones are "
            f"more than the {most} that the model reads at once; shorten it, or give "
            "a lower --max-new-tokens"
        )


def _key(spelled: SpelledText) -> list[object]:
    ids = spelled.token_ids.astype("<i8").tobytes()
    text = spelled.text.encode()
    return [
        spelled.name,
        sha256(ids).hexdigest(),
        sha256(text).hexdigest(),
        spelled.num_context,
    ]


def _writing_key(study: Study, plan: Plan) -> object:
    """What answers follow from; nothing where there is no prompt."""
    if not any(plan.is_prompt):
        return None
    writing = asdict(plan.writing)
    for name in ("text", "file", "prompt"):
        writing.pop(name)
    return {**writing, "seed": study.seed, "ends": list(_ends(study.loaded))}
