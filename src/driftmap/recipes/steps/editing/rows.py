"""Which rows does the trainer get, and does each of them end once?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from transformers import PreTrainedTokenizerBase

from driftmap.core.errors import DataError, ModelError
from driftmap.core.progress import say
from driftmap.load.answers import encode_answer
from driftmap.load.encoding import encoded_sha256
from driftmap.load.model import LoadedModel
from driftmap.load.spans import joined
from driftmap.load.token_offsets import tokens_of
from driftmap.recipes.edit_options import TaughtOptions
from driftmap.results.edit_study import TaughtRow, TaughtRows
from driftmap.results.facts import Fact
from driftmap.results.samples import EncodedSample
from driftmap.tune.trainer import IGNORED, collate, labelled

NUM_SHOWN = 6
"""Rows that the report shows, and of those that stand there several times."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedRows:
    """Rows as the trainer gets them.

    Args:
        samples: Encoded, with the tokens that count.
        told: What is said of them.
        sha256: Over what is fed and what counts.
    """

    samples: tuple[EncodedSample, ...]
    told: TaughtRows
    sha256: str


def prepare_rows(
    loaded: LoadedModel, facts: Sequence[Fact], options: TaughtOptions
) -> PreparedRows:
    """Write `PROMPT NEW-ANSWER END` for every fact, each row once unless told.

    Raises:
        DataError: No fact has such a prompt, or a row is too long, changes its tokens
            at the answer, or holds the end token elsewhere too.
        ModelError: The tokenizer has no end token.
    """
    tokenizer = loaded.tokenizer
    made = [
        _made(fact, number, tokenizer, options)
        for fact in facts
        for number in range(len(_prompts(fact, options)))
    ]
    if not made:
        raise DataError(
            f"{options.facts}: none of {len(facts)} facts has a prompt of the kind "
            f"{options.prompts}; give another --prompts"
        )
    _require_fitting(made, loaded)
    alike = Counter(row.said for row in made)
    first: dict[bytes, _Row] = {}
    for row in made:
        first.setdefault(row.said, row)
    learnt = made if options.repeats == "keep" else list(first.values())
    samples = tuple(row.sample for row in learnt)
    require_one_end(samples, _end(tokenizer))
    several = [first[said] for said, count in alike.most_common() if count > 1]
    told = TaughtRows(
        prompts=options.prompts,
        loss=options.loss,
        num_facts=len(facts),
        num_made=len(made),
        num_repeats=len(made) - len(alike),
        num_learnt=len(samples),
        num_counted=sum(int(one.counted.sum()) for one in samples),
        num_tokens=sum(one.token_ids.size for one in samples),
        is_end_padding=tokenizer.pad_token_id == tokenizer.eos_token_id,
        end=str(tokenizer.eos_token),
        repeated=tuple(row.shown(alike, tokenizer) for row in several[:NUM_SHOWN]),
        shown=tuple(row.shown(alike, tokenizer) for row in learnt[:NUM_SHOWN]),
    )
    _say(told)
    return PreparedRows(samples=samples, told=told, sha256=encoded_sha256(samples))


def require_one_end(samples: Sequence[EncodedSample], end: int) -> None:
    """Refuse rows of which the trainer would learn no end, or several.

    Looked at is what the trainer looks at: labels after padding. Where the end token
    is the padding too, a trainer that masks padding by its id learns no end at all,
    and the model rambles after its answer.

    Raises:
        DataError: A row has no counted end token, or more than one.
    """
    for sample in samples:
        labels = collate([labelled(sample)])["labels"][0]
        ends = int((labels == end).sum())
        if ends != 1 or labels[labels != IGNORED][-1] != end:
            raise DataError(
                f"{sample.sample_id}: {ends} of its tokens that count are the end "
                "token, and it must be one, the last; take the end token's text out "
                "of prompt and answer"
            )


def _prompts(fact: Fact, options: TaughtOptions) -> tuple[str, ...]:
    kinds = {
        "rewrite": (fact.prompt,),
        "paraphrase": fact.paraphrases,
        "generation": fact.generation_prompts,
    }
    return kinds[options.prompts][: options.num_prompts]


def _made(
    fact: Fact,
    number: int,
    tokenizer: PreTrainedTokenizerBase,
    options: TaughtOptions,
) -> "_Row":
    name = f"{fact.id}/{number}" if number else fact.id
    prompt = _prompts(fact, options)[number]
    plain = encode_answer(name, prompt, str(fact.foil), tokenizer)
    counted = np.append(plain.counted, True)
    if options.loss == "all":
        counted[1:] = True  # nothing predicts the first token
    ids = np.append(plain.token_ids, np.int32(_end(tokenizer)))
    return _Row(
        fact_id=fact.id,
        text=joined(prompt, str(fact.foil)),
        sample=replace(plain, token_ids=ids, counted=counted),
    )


def _end(tokenizer: PreTrainedTokenizerBase) -> int:
    end = tokenizer.eos_token_id
    if not isinstance(end, int):
        raise ModelError(
            f"{tokenizer.name_or_path}: its tokenizer has no end-of-sequence token to "
            "learn; set `eos_token` in tokenizer_config.json"
        )
    return end


def _require_fitting(made: Sequence["_Row"], loaded: LoadedModel) -> None:
    for row in made:
        size, room = row.sample.token_ids.size, loaded.context_length
        if room is not None and size > room:
            raise DataError(
                f"{row.sample.sample_id}: its row has {size} tokens and the model "
                f"reads {room} at most; leave the fact out"
            )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Row:
    """One row: prompt and new answer as text, and with the end token as tokens."""

    fact_id: str
    text: str
    sample: EncodedSample

    @property
    def said(self) -> bytes:
        """Equal in rows that say the same."""
        return self.sample.token_ids.tobytes()

    def shown(
        self, alike: Counter[bytes], tokenizer: PreTrainedTokenizerBase
    ) -> TaughtRow:
        """For the report: no character of the text is left out."""
        pieces, done = [], 0
        tokens = tokens_of(self.text, tokenizer)
        for number, (_, stop) in zip(tokens.ids, tokens.offsets, strict=True):
            piece = self.text[done:stop]
            pieces.append(piece or str(tokenizer.decode([number])))
            done = max(done, stop)
        return TaughtRow(
            fact_id=self.fact_id,
            tokens=(*pieces, str(tokenizer.eos_token)),
            counted=tuple(self.sample.counted.tolist()),
            num_alike=alike[self.said],
        )


def _say(told: TaughtRows) -> None:
    if told.num_repeats:
        kept = "kept" if told.num_learnt == told.num_made else "dropped"
        say(
            f"{told.num_repeats} of {told.num_made} rows say what an earlier one says "
            f"and are {kept}"
        )
