"""How close is a model to refusing, and what does it lose on harmless text?

Three numbers per example and no generation: the log-odds that an answer opens with a
refusal's first token, the margin of a whole refusal over a known unsafe answer, and the
loss on harmless responses. Logits are made only where one of them needs them.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import torch
from jaxtyping import Float, Float64, Int64
from peft import PeftModel
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedModel

from driftmap.core.errors import DataError, MeasureError
from driftmap.evaluate.prompts import by_length, judged, padded
from driftmap.evaluate.refusal import first_token_log_odds
from driftmap.results.expert_effects import ExampleOutcomes
from driftmap.results.samples import EncodedSample

_TOKENS_AT_A_TIME = 512
"""Rows of logits that are made float32 together."""

Model = PreTrainedModel | PeftModel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutcomeSamples:
    """What a model is read on.

    Args:
        prompts: Unsafe prompts, ending where the answer starts.
        first_ids: Ids that open a refusal, from `opening_ids`.
        refusals: Unsafe prompts with a refusal, for the margin.
        answers: The same prompts with the unsafe answer, same ids in the same order.
        benign: Harmless prompts with their responses.
    """

    prompts: Sequence[EncodedSample]
    first_ids: Sequence[int]
    refusals: Sequence[EncodedSample] = ()
    answers: Sequence[EncodedSample] = ()
    benign: Sequence[EncodedSample] = ()


def opening_ids(refusals: Sequence[EncodedSample]) -> tuple[int, ...]:
    """First response token of each recorded refusal, ascending, none twice.

    Args:
        refusals: Prompts with a refusal as the response.

    Raises:
        DataError: There is no refusal, or one has no response token.
    """
    if not refusals:
        raise DataError("there is no refusal to take first tokens from; record some")
    for sample in refusals:
        if sample.prompt_length >= sample.token_ids.size:
            raise DataError(
                f"sample {sample.sample_id!r}: the refusal has no token; is it empty "
                "or cut off?"
            )
    return tuple(sorted({int(s.token_ids[s.prompt_length]) for s in refusals}))


def example_outcomes(
    model: Model, samples: OutcomeSamples, *, batch_size: int = 16
) -> ExampleOutcomes:
    """Read all outcomes of a model as it now is.

    Args:
        model: A model, with or without an adapter; it is left as found.
        samples: What it is read on; without refusals there is no margin, and without
            harmless samples no loss.
        batch_size: Samples per forward pass; changes speed and memory only.

    Raises:
        DataError: There is no prompt, a sample has no token that counts, or refusals
            and answers are not of the same prompts.
        MeasureError: No first id is given, or a logit is NaN.
    """
    refusals, answers = samples.refusals, samples.answers
    ids = tuple(sample.sample_id for sample in refusals)
    if ids != tuple(sample.sample_id for sample in answers):
        raise DataError(
            f"{len(refusals)} refusals and {len(answers)} unsafe answers are not of "
            "the same prompts in the same order; give both of each prompt"
        )
    safe = response_nats(model, refusals, batch_size=batch_size)
    unsafe = response_nats(model, answers, batch_size=batch_size)
    return ExampleOutcomes(
        unsafe_ids=tuple(prompt.sample_id for prompt in samples.prompts),
        refusal_log_odds=opening_log_odds(
            model, samples.prompts, samples.first_ids, batch_size=batch_size
        ),
        margin_ids=ids,
        margins=tuple(u - s for s, u in zip(safe, unsafe, strict=True)),
        benign_ids=tuple(sample.sample_id for sample in samples.benign),
        benign_nats=response_nats(model, samples.benign, batch_size=batch_size),
    )


def opening_log_odds(
    model: Model,
    prompts: Sequence[EncodedSample],
    first_ids: Sequence[int],
    *,
    batch_size: int = 16,
) -> tuple[float, ...]:
    """`ln sum_{v in R} p(v) - ln sum_{v not in R} p(v)` where the answer starts.

    Args:
        model: A model, with or without an adapter; it is left as found.
        prompts: Ending where the answer starts.
        first_ids: R, ids that open a refusal.
        batch_size: Prompts per forward pass.

    Returns:
        One value per prompt, in nats, in the order of the prompts.

    Raises:
        DataError: There is no prompt, or one has no token.
        MeasureError: R is empty, outside the vocabulary or all of it, or a logit is
            NaN.
    """
    found: dict[int, float] = {}
    with judged(model):
        for batch in by_length(prompts, batch_size):
            some = [prompts[number] for number in batch]
            last = torch.tensor([one.token_ids.size - 1 for one in some])
            logits = _logits(model, some, torch.arange(len(some)), last)
            odds = first_token_log_odds(logits.cpu().to(torch.float64), first_ids)
            found |= dict(zip(batch, odds.tolist(), strict=True))
    return _in_order(found, prompts)


def response_nats(
    model: Model, samples: Sequence[EncodedSample], *, batch_size: int = 16
) -> tuple[float, ...]:
    """Mean negative log-likelihood of each sample's counted tokens.

    Args:
        model: A model, with or without an adapter; it is left as found.
        samples: Prompts with responses; none give no value.
        batch_size: Samples per forward pass.

    Returns:
        One value per sample, in nats, in the order of the samples.

    Raises:
        DataError: A sample has no counted token after its first.
        MeasureError: A logit is NaN.
    """
    for sample in samples:
        if not sample.counted[1:].any():
            raise DataError(
                f"sample {sample.sample_id!r}: no token counts; is its response empty "
                "or cut off?"
            )
    found: dict[int, float] = {}
    with judged(model):
        for batch in by_length(samples, batch_size) if samples else ():
            some = [samples[number] for number in batch]
            nats = _batch_nats(model, some)
            found |= dict(zip(batch, nats.tolist(), strict=True))
    return _in_order(found, samples)


def _batch_nats(
    model: Model, samples: Sequence[EncodedSample]
) -> Float64[Tensor, " sample"]:
    counted = [torch.from_numpy(one.counted[1:]).nonzero()[:, 0] for one in samples]
    rows = torch.cat([torch.full_like(at, row) for row, at in enumerate(counted)])
    targets = torch.cat(
        [
            torch.from_numpy(one.token_ids.astype("i8"))[1:][at]
            for one, at in zip(samples, counted, strict=True)
        ]
    )
    logits = _logits(model, samples, rows, torch.cat(counted))
    pieces = [
        functional.cross_entropy(z.float(), t.to(z.device), reduction="none")
        for z, t in zip(
            logits.split(_TOKENS_AT_A_TIME),
            targets.split(_TOKENS_AT_A_TIME),
            strict=True,
        )
    ]
    nats = torch.cat(pieces).cpu().to(torch.float64)
    sums = torch.zeros(len(samples), dtype=torch.float64).index_add(0, rows, nats)
    return sums / torch.tensor([len(at) for at in counted])


def _logits(
    model: Model,
    samples: Sequence[EncodedSample],
    rows: Int64[Tensor, " place"],
    columns: Int64[Tensor, " place"],
) -> Float[Tensor, "place token_id"]:
    """Logits at some places; the head runs on their columns alone where it can."""
    ids, real = padded(samples, "right")
    inputs = {
        "input_ids": ids.to(model.device),
        "attention_mask": real.to(model.device),
        "use_cache": False,
    }
    if not _keeps_some(model):
        logits = model(**inputs).logits
        return logits[rows.to(logits.device), columns.to(logits.device)]
    kept, place = columns.unique(return_inverse=True)
    logits = model(**inputs, logits_to_keep=kept.to(model.device)).logits
    return logits[rows.to(logits.device), place.to(logits.device)]


def _keeps_some(model: Model) -> bool:
    base: nn.Module = model.get_base_model() if isinstance(model, PeftModel) else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


def _in_order(
    found: dict[int, float], samples: Sequence[EncodedSample]
) -> tuple[float, ...]:
    for number, value in found.items():
        if isnan(value):
            name = samples[number].sample_id
            raise MeasureError(
                f"sample {name!r}: a logit is NaN; are the model's weights finite?"
            )
    return tuple(found[number] for number in range(len(samples)))
