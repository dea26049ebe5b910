"""Which tokens are fed, which are subject and control, and which rows are read?"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from driftmap.capture.hooks import evaluating
from driftmap.capture.patching.noise import control_span
from driftmap.core.errors import DataError
from driftmap.core.progress import progress, say
from driftmap.load.model import LoadedModel
from driftmap.load.spans import encode_fact
from driftmap.load.token_offsets import tokens_of
from driftmap.measure.tracing import token_roles
from driftmap.recipes.attention_options import PromptOptions, RowOptions
from driftmap.results.attention import AttentionPrompt, AttentionQuery
from driftmap.results.facts import EncodedFact, Fact


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedPrompt:
    """A prompt, ready to be read.

    Args:
        encoded: Its tokens and its answer's.
        has_subject: It is about something; else the span in `encoded` means nothing.
        token_ids: All that is fed: prompt and whole answer.
        log_prob: Of the answer (nats).
        is_known: Its given answer is the model's first choice; None without one.
    """

    encoded: EncodedFact
    has_subject: bool
    token_ids: tuple[int, ...]
    log_prob: float
    is_known: bool | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedPrompts:
    """All that can be read, and why others cannot."""

    prompts: tuple[PreparedPrompt, ...]
    left_out: Counter[str]

    @property
    def sha256(self) -> str:
        """Of what is fed, and of which tokens are what."""
        told = [
            (one.encoded.fact.id, one.token_ids, one.encoded.subject, one.has_subject)
            for one in self.prompts
        ]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def prepare(
    loaded: LoadedModel, facts: Sequence[Fact], options: PromptOptions
) -> PreparedPrompts:
    """Turn prompts into tokens, and have the model answer those without an answer.

    Raises:
        DataError: A prompt cannot be read and may not be left out, or none can.
    """
    left_out: Counter[str] = Counter()
    found = tuple(_prepared(loaded, facts, options, left_out))
    if not found:
        reasons = "; ".join(left_out) or "there is none"
        raise DataError(f"none of {len(facts)} prompts can be read: {reasons}")
    return PreparedPrompts(prompts=found, left_out=left_out)


def described(one: PreparedPrompt, loaded: LoadedModel) -> AttentionPrompt:
    """Say of a prompt what a reader needs to know."""
    encoded = one.encoded
    subject = encoded.subject if one.has_subject else None
    answer = tuple(
        str(loaded.tokenizer.decode([token])) for token in encoded.answer_ids
    )
    return AttentionPrompt(
        id=encoded.fact.id,
        text=encoded.fact.prompt,
        tokens=(*encoded.tokens, *answer),
        num_prompt=encoded.num_prompt,
        answer=answer,
        subject=subject,
        control=control_span(encoded) if one.has_subject else None,
        roles=token_roles(encoded.num_prompt, subject) if subject else (),
        cluster=encoded.fact.subject or encoded.fact.id,
        is_known=one.is_known,
        log_prob=one.log_prob,
    )


def queries_of(one: PreparedPrompt, options: RowOptions) -> tuple[AttentionQuery, ...]:
    """Rows that are read: of positions that produce the answer, and of the answer."""
    start, num = one.encoded.num_prompt, len(one.encoded.answer_ids)
    tokens = range(num if options.queries == "all" else 1)
    return (
        *(
            AttentionQuery(kind="produces", answer_token=j, position=start - 1 + j)
            for j in tokens
        ),
        *(
            AttentionQuery(kind="own", answer_token=j, position=start + j)
            for j in tokens
        ),
    )


def answer_log_probs(
    logits: Tensor, one: EncodedFact
) -> tuple[Tensor, tuple[int, ...]]:
    """Log-probability of the answer in each row, and the first row's choices.

    Args:
        logits: `[row token vocabulary]` over prompt and answer.
        one: Whose they are.
    """
    first = one.num_prompt - 1
    own = logits[:, first : first + len(one.answer_ids)].float().log_softmax(dim=-1)
    ids = torch.tensor(one.answer_ids, device=own.device)
    picked = own.gather(2, ids.expand(len(own), -1)[..., None])[..., 0]
    return picked.double().sum(dim=1).cpu(), tuple(own[0].argmax(dim=-1).tolist())


def _prepared(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    options: PromptOptions,
    left_out: Counter[str],
) -> Iterator[PreparedPrompt]:
    with progress("find subjects and answers", len(facts)) as bar:
        for fact in facts:
            try:
                yield _one(loaded, fact, options)
            except DataError as error:
                if options.unclear == "error":
                    raise
                if not left_out:
                    say(f"left out: {error}")
                left_out["subject or answer not found in the tokens"] += 1
            bar.advance()


def _one(loaded: LoadedModel, fact: Fact, options: PromptOptions) -> PreparedPrompt:
    encoded = _encoded(loaded, fact, options)
    is_given = bool(encoded.answer_ids)
    if not is_given:
        encoded = replace(encoded, answer_ids=_own_answer(loaded, encoded, options))
    prompt = encoded.token_ids[: encoded.num_prompt].tolist()
    whole = [*prompt, *encoded.answer_ids]
    limit = loaded.context_length
    if limit is not None and len(whole) > limit:
        raise DataError(
            f"{fact.id}: its {len(whole)} tokens are more than the {limit} that the "
            "model reads at once; shorten the prompt"
        )
    encoded = replace(encoded, token_ids=np.array(whole[:-1], dtype=np.int32))
    log_probs, choices = answer_log_probs(_logits(loaded, whole), encoded)
    return PreparedPrompt(
        encoded=encoded,
        has_subject=options.has_subject,
        token_ids=tuple(whole),
        log_prob=float(log_probs[0]),
        is_known=choices == encoded.answer_ids if is_given else None,
    )


def _encoded(loaded: LoadedModel, fact: Fact, options: PromptOptions) -> EncodedFact:
    if options.answers == "own":
        fact = replace(fact, answer=None)
    where = options.as_facts
    span = where.span
    if not options.has_subject:  # any token stands in for a subject that is not there
        size = len(tokens_of(fact.prompt, loaded.tokenizer).ids)
        span = (size - 1, size)
    return encode_fact(
        replace(fact, foil=None),
        loaded.tokenizer,
        occurrence=where.place,
        subject_tokens=span,
        ignore_case=options.ignore_case,
    )


def _own_answer(
    loaded: LoadedModel, encoded: EncodedFact, options: PromptOptions
) -> tuple[int, ...]:
    """What the model says next, the most likely token each time."""
    prompt = encoded.token_ids[: encoded.num_prompt].tolist()
    answer: list[int] = []
    for _ in range(options.num_answer_tokens):
        logits = _logits(loaded, [*prompt, *answer])
        answer.append(int(logits[0, -1].argmax()))
        if answer[-1] == loaded.tokenizer.eos_token_id:
            break
    return tuple(answer)


def _logits(loaded: LoadedModel, ids: Sequence[int]) -> Tensor:
    with torch.no_grad(), evaluating(loaded.model):
        token_ids = torch.tensor([list(ids)], device=loaded.device)
        return loaded.model(token_ids, use_cache=False).logits
