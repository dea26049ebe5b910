"""What does the studied model itself answer to the prompts of a set?

Each answer is kept when its batches are done, under a name that says all it depends
on: a killed run goes on, and another model or limit begins anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from transformers import PreTrainedModel

from driftmap.core.errors import DriftmapError
from driftmap.core.progress import phase, progress, say
from driftmap.core.shortage import explained
from driftmap.evaluate.generate import drawn_answers, end_ids
from driftmap.evaluate.generators import Decoding
from driftmap.load.checkpoint import find_folder
from driftmap.load.encoding import Encoding, encode, turn_ends
from driftmap.load.identity import weights_sha256
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.own_ids import Version
from driftmap.load.source import ModelSource
from driftmap.load.templates import with_template
from driftmap.recipes.dataset_options import AnsweringOptions
from driftmap.recipes.options import EvaluationOptions
from driftmap.recipes.steps.dataset.prompts import Prompt, prompts_of, read_prompts
from driftmap.recipes.steps.dataset.sets import (
    SetPlace,
    SetRecord,
    alone,
    listed,
    turns,
)
from driftmap.recipes.steps.needs.remedies import for_evaluation
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.samples import Message
from driftmap.store.replies import Replies

_BATCHES_KEPT = 4
"""Batches that are answered before their answers are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """Who answers what.

    Args:
        source: The studied model.
        options: Which prompts, in which template, and the longest answer.
    """

    source: ModelSource
    options: AnsweringOptions

    def record(self, found: Version) -> SetRecord:
        """What decides the rows, beside the prompts themselves."""
        weights = [self.source.model, self.source.adapter]
        hashes = [weights_sha256(find_folder(one))[:12] for one in weights if one]
        ids = tuple(dict.fromkeys(one.original_id for one in found.samples))
        return SetRecord(
            settings={
                "model": self.source.model,
                "weights": "+".join(hashes),
                "dtype": self.source.dtype,
                "prompts": self.options.prompts,
                "template": self.options.template or "its own",
                "max_new_tokens": str(self.options.max_new_tokens),
            },
            of=found.sha256,
            num_rows=len(found.samples),
            lacking=ids,
        )


def make_answers(plan: AnswerPlan, folder: Path) -> Path:
    """Let the model answer the prompts that it has not answered yet.

    Args:
        plan: Who answers what.
        folder: Where the prompts lie and `generated.jsonl` goes.

    Returns:
        The answers.

    Raises:
        StoreError: The prompts are not there, or another set of answers is.
        ModelError: The model cannot be loaded or has too little memory.
        DataError: A prompt cannot be put into the template.
    """
    found, sha256 = read_prompts(folder, plan.options.prompts)
    place = SetPlace(folder=folder, name="generated")
    empty = plan.record(found)
    _say_if_partial(folder, plan)
    with alone(folder):
        made = place.found(empty.settings)
        if made is not None and made.of == sha256 and not made.lacking:
            say(f"{place.rows}: it is there, made with these settings, and is reused")
            return place.rows
        if made is None:
            place.begin(empty)
        with phase("load the model"):
            loaded = load_model(plan.source)
        tokenizer = with_template(loaded.tokenizer, plan.options.template)
        loaded = replace(loaded, tokenizer=tokenizer)
        _make(plan, found, loaded, place, empty)
    return place.rows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """One answer as it is kept."""

    text: str
    ids: tuple[int, ...]
    complete: bool


def _say_if_partial(folder: Path, plan: AnswerPlan) -> None:
    place = SetPlace(folder=folder, name="paraphrased")
    if plan.options.prompts != "paraphrased" or not place.settings.exists():
        return
    record = place.found({})
    if record is not None and record.lacking:
        versions = int(record.settings.get("num_versions", "1"))
        say(place.lacks(record, record.num_rows // versions))


def _make(
    plan: AnswerPlan,
    found: Version,
    loaded: LoadedModel,
    place: SetPlace,
    empty: SetRecord,
) -> None:
    ends = _ends(loaded, found)
    said = [*empty.settings.values(), list(ends), loaded.identity.sha256]
    prompts = prompts_of(found, loaded, plan.options.max_new_tokens, said)
    replies = place.replies()
    wanted = [one for one in prompts if one.room > 0 and not replies.of(one.key)]
    if wanted:
        with threads_for(loaded.identity):
            _answer(plan, loaded, wanted, replies, ends)
    record, rows = _judged(prompts, replies, empty)
    place.save(record, rows)
    _say_what_came(loaded, prompts, replies, place, record)


def _ends(loaded: LoadedModel, found: Version) -> tuple[int, ...]:
    """Every token that ends an answer: the model's, and the template's end of turn."""
    model = cast(PreTrainedModel, loaded.model)
    template: tuple[int, ...] = ()
    if loaded.tokenizer.chat_template and found.samples:
        template = turn_ends(loaded.tokenizer)
    return tuple(sorted({*end_ids(model, loaded.tokenizer), *template}))


def _answer(
    plan: AnswerPlan,
    loaded: LoadedModel,
    wanted: Sequence[Prompt],
    replies: Replies,
    ends: tuple[int, ...],
) -> None:
    model = cast(PreTrainedModel, loaded.model)
    size = plan.options.eval_batch_size
    order = sorted(wanted, key=lambda one: (one.room, len(one.encoded.token_ids)))
    remedy = EvaluationOptions(
        max_new_tokens=plan.options.max_new_tokens, eval_batch_size=size
    )
    with progress("answer all prompts", len(order)) as bar:
        for some in _alike(order, size * _BATCHES_KEPT):
            decoding = Decoding(max_new_tokens=some[0].room)
            with explained("answering", for_evaluation(remedy)):
                answers = drawn_answers(
                    model,
                    loaded.tokenizer,
                    [one.encoded for one in some],
                    decoding,
                    batch_size=size,
                    more_ends=ends,
                )
            for one, (answer,) in zip(some, answers, strict=True):
                ids = list(answer.token_ids)
                complete = bool(ids) and ids[-1] in ends
                kept = {"text": answer.text, "ids": ids, "complete": complete}
                replies.add(one.key, kept)
            bar.advance(len(some))


def _alike(order: Sequence[Prompt], most: int) -> list[list[Prompt]]:
    """Prompts with the same room for their answers, at most so many together."""
    groups: list[list[Prompt]] = []
    for one in order:
        if not groups or groups[-1][0].room != one.room or len(groups[-1]) == most:
            groups.append([])
        groups[-1].append(one)
    return groups


def _kept(replies: Replies, prompt: Prompt) -> _Answer | None:
    found = replies.of(prompt.key)
    if not found:
        return None
    ids = found[-1].get("ids")
    whole = (
        [one for one in ids if isinstance(one, int)] if isinstance(ids, list) else []
    )
    return _Answer(
        text=str(found[-1].get("text", "")),
        ids=tuple(whole),
        complete=found[-1].get("complete") is True,
    )


def _judged(
    prompts: Sequence[Prompt], replies: Replies, empty: SetRecord
) -> tuple[SetRecord, list[dict[str, object]]]:
    rows: list[dict[str, object]] = []
    left_out: dict[str, str] = {}
    flagged: dict[str, str] = {}
    for one in prompts:
        answer = _kept(replies, one)
        if answer is None:
            left_out[one.id] = "its prompt fills the whole context of the model"
            continue
        if not answer.text.strip():
            left_out[one.id] = "the model answers nothing"
            continue
        if one.flags:
            flagged[one.id] = "; ".join(one.flags)
        rows.append(_row(one, answer, empty.settings))
    record = replace(empty, lacking=(), left_out=left_out, flagged=flagged)
    return record, rows


def _row(
    prompt: Prompt, answer: _Answer, settings: Mapping[str, str]
) -> dict[str, object]:
    said = [turn for turn in prompt.sample.messages if turn.role != "assistant"]
    said.append(Message(role="assistant", content=answer.text))
    return {
        "id": prompt.id,
        "original_id": prompt.sample.original_id,
        "version": "generated",
        "messages": turns(said),
        "label": prompt.sample.label,
        "flags": list(prompt.flags),
        "complete": answer.complete,
        "origin": dict(settings),
    }


def _say_what_came(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    replies: Replies,
    place: SetPlace,
    record: SetRecord,
) -> None:
    kept = [
        (one, answer)
        for one in prompts
        if one.id not in record.left_out and (answer := _kept(replies, one)) is not None
    ]
    cut = [one.id for one, answer in kept if not answer.complete]
    if cut:
        say(
            f"{place.rows.name}: {len(cut)} of {len(kept)} answers are not complete "
            f"({listed(cut)}); --max-new-tokens says how long they may be"
        )
    for why in dict.fromkeys(record.left_out.values()):
        ids = [one for one, reason in record.left_out.items() if reason == why]
        say(f"{place.rows.name}: {len(ids)} answers are left out, {why}: {listed(ids)}")
    differ = sum(_differs(loaded, one, answer) for one, answer in kept)
    if kept:
        say(
            f"{place.rows.name}: {len(kept)} answers; {differ / len(kept):.0%} of them "
            f"({differ}) have other token ids when their text is encoded again"
        )


def _differs(loaded: LoadedModel, prompt: Prompt, answer: _Answer) -> bool:
    """Whether the text of an answer becomes other tokens than those generated."""
    row = [turn for turn in prompt.sample.messages if turn.role != "assistant"]
    row.append(Message(role="assistant", content=answer.text))
    sample = replace(prompt.sample, messages=tuple(row))
    try:
        (encoded,) = encode([sample], loaded.tokenizer, Encoding())
    except DriftmapError:  # the template changes it, or swallows it
        return True
    said = encoded.token_ids[encoded.counted].tolist()
    generated = list(answer.ids[:-1] if answer.complete else answer.ids)
    return said != generated
