"""Does a model find the right choice the likeliest?

The choice with the highest sum of log-probabilities, given the text before it, is the
model's answer; of equals the first. This is how the Language Model Evaluation Harness
(lm-eval) reads `acc` of its multiple-choice tasks, spaces at the border included: they
belong to the choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from driftmap.core.errors import DataError, MeasureError
from driftmap.core.progress import progress
from driftmap.evaluate.prompts import judged
from driftmap.results.utility import ChoiceItem, TaskReading


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sequence:
    """Context and choice as token ids; the last `num_chosen` are the choice's."""

    token_ids: tuple[int, ...]
    num_chosen: int


def choice_readings(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    items: Sequence[ChoiceItem],
    *,
    limit: int | None = None,
    batch_size: int = 16,
) -> tuple[TaskReading, ...]:
    """Read `acc` of every task among the items.

    Args:
        model: A model, with or without an adapter; it is left as found.
        tokenizer: The model's.
        items: Of one task or several.
        limit: First items of each task that are read; all by default.
        batch_size: Choices per forward pass; changes speed and memory only.

    Returns:
        One reading per task, in the order of their first items.

    Raises:
        DataError: There is no item, or a choice has no token.
        MeasureError: A logit is NaN.
    """
    if not items:
        raise DataError("there is no item to choose in; is the file empty?")
    tasks = {item.task: [i for i in items if i.task == item.task] for item in items}
    read = {task: mine[:limit] for task, mine in tasks.items()}
    sequences = [
        _encoded(tokenizer, item, choice)
        for mine in read.values()
        for item in mine
        for choice in item.choices
    ]
    log_p = iter(_log_probabilities(model, sequences, batch_size).tolist())
    return tuple(
        TaskReading(
            task=task,
            metric="acc",
            num_shots=0,
            num_available=len(tasks[task]),
            item_ids=tuple(item.item_id for item in mine),
            values=np.array([_is_right(item, log_p) for item in mine]),
            chance=float(np.mean([1 / len(item.choices) for item in mine])),
        )
        for task, mine in read.items()
    )


def _is_right(item: ChoiceItem, log_p: Iterator[float]) -> float:
    values = [next(log_p) for _ in item.choices]
    return float(int(np.argmax(values)) == item.answer)


def _encoded(
    tokenizer: PreTrainedTokenizerBase, item: ChoiceItem, choice: str
) -> _Sequence:
    context = item.context.rstrip()
    whole = _ids(tokenizer, item.context + choice)
    num_before = len(_ids(tokenizer, context))
    if not 0 < num_before < len(whole):
        raise DataError(
            f"{item.task}: item {item.item_id!r} has no token before a choice, or a "
            "choice has none; mend it"
        )
    return _Sequence(token_ids=tuple(whole), num_chosen=len(whole) - num_before)


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    # Chat templates write the token that begins a text themselves.
    bos = tokenizer.bos_token
    begun = bool(bos) and text.startswith(str(bos))
    ids = tokenizer(text, add_special_tokens=not begun)["input_ids"]
    assert isinstance(ids, list)
    return ids


def _log_probabilities(
    model: PreTrainedModel | PeftModel, sequences: Sequence[_Sequence], batch_size: int
) -> Float64[np.ndarray, " sequence"]:
    """Sum of the log-probabilities of each choice's tokens."""
    order = np.argsort([len(s.token_ids) for s in sequences], kind="stable")
    found = np.empty(len(sequences))
    with judged(model), progress("choices", len(sequences)) as bar:
        for first in range(0, len(order), batch_size):
            places = order[first : first + batch_size]
            some = [sequences[place] for place in places.tolist()]
            found[places] = _of_batch(model, some)
            bar.advance(len(some))
    if np.isnan(found).any():
        raise MeasureError(
            "a logit of a choice is NaN; are the model's weights finite?"
        )
    return found


def _of_batch(
    model: PreTrainedModel | PeftModel, sequences: Sequence[_Sequence]
) -> list[float]:
    length = max(len(one.token_ids) for one in sequences)
    ids = torch.zeros(len(sequences), length, dtype=torch.int64)
    real = torch.zeros_like(ids)
    for row, one in enumerate(sequences):
        ids[row, : len(one.token_ids)] = torch.tensor(one.token_ids)
        real[row, : len(one.token_ids)] = 1
    ids, real = ids.to(model.device), real.to(model.device)
    logits: Tensor = model(input_ids=ids, attention_mask=real, use_cache=False).logits
    sums: list[float] = []
    for z, own, one in zip(logits, ids, sequences, strict=True):
        stop = len(one.token_ids)
        start = stop - one.num_chosen
        log_p = z[start - 1 : stop - 1].float().log_softmax(1)
        chosen = log_p.gather(1, own[start:stop, None].to(z.device))
        sums.append(chosen.double().sum().item())
    return sums
