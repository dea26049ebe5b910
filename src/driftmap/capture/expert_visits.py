"""How do the rows that an expert saw become one matrix per sample?

A bank's rows lie expert after expert, and sample after sample inside: of most experts
only some samples have rows, and not equally many. Measures take samples side by side,
so the shorter ones are filled up with zeros.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from driftmap.capture.cleaning import require_finite
from driftmap.families.grouped_maps import ExpertRows


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Visits:
    """Tokens that the samples of a batch sent to one expert.

    Args:
        expert: Number of the expert.
        samples: Rows of the batch that sent any, ascending; may be none.
        rows: Where the expert's rows lie among the bank's.
        length: Most tokens that one of these samples sent (count).
        place: Where each row goes in `samples` x `length`; None where they lie so.
    """

    expert: int
    samples: tuple[int, ...]
    rows: slice
    length: int
    place: Int[Tensor, " row"] | None

    def by_sample(
        self, values: Float[Tensor, "row unit"]
    ) -> Float[Tensor, "sample token unit"]:
        """Take what a bank shows to this expert's own, zero where a sample has less."""
        own = values[self.rows]
        if self.place is None:
            return own.reshape(len(self.samples), self.length, -1)
        spread = own.new_zeros(len(self.samples) * self.length, own.shape[1])
        spread[self.place] = own
        return spread.reshape(len(self.samples), self.length, -1)


def visits_of(rows: ExpertRows, num_samples: int) -> Iterator[Visits]:
    """Say of every expert which samples went to it.

    Args:
        rows: Sorted by expert, then token; tokens are sample after sample.
        num_samples: Samples of the batch (count).

    >>> from driftmap.families.grouped_maps import sorted_rows
    >>> chosen = torch.tensor([[1], [0], [1], [1]])
    >>> first, second = visits_of(sorted_rows(chosen, 2), 2)
    >>> first.samples, second.samples, second.length
    ((0,), (0, 1), 2)
    >>> second.by_sample(torch.tensor([[9.0], [1.0], [2.0], [3.0]])).squeeze(2)
    tensor([[1., 0.],
            [2., 3.]])
    """
    num_experts = len(rows.end_numbers)
    length = rows.num_tokens // num_samples
    key = rows.expert * num_samples + rows.token // length
    counts = torch.bincount(key, minlength=num_experts * num_samples)
    table: list[list[int]] = counts.reshape(num_experts, num_samples).tolist()
    for expert, sent in enumerate(table):
        samples = tuple(sample for sample, count in enumerate(sent) if count)
        most = max(sent)
        yield Visits(
            expert=expert,
            samples=samples,
            rows=rows.of(expert),
            length=most,
            place=_place([sent[s] for s in samples], most, rows.token.device),
        )


def require_finite_rows(
    values: Float[Tensor, "row unit"],
    rows: ExpertRows,
    sample_ids: Sequence[str],
    name: str,
    what: str,
) -> None:
    """Refuse infinities and what is no number, naming a sample that has one.

    Args:
        values: What a bank shows.
        rows: Which token each row is of.
        sample_ids: One id per sample.
        name: Where the values were found, for messages.
        what: What they are, for messages.

    Raises:
        MeasureError: There is one.
    """
    if not len(values):
        return
    low, high = values.aminmax()
    if bool(torch.isfinite(high - low)):
        return
    length = rows.num_tokens // len(sample_ids)
    tokens: list[int] = rows.token.tolist()
    owners = [sample_ids[token // length] for token in tokens]
    require_finite(values, owners, name, what)


def _place(
    counts: Sequence[int], length: int, device: torch.device
) -> Int[Tensor, " row"] | None:
    if all(count == length for count in counts):
        return None
    number = torch.arange(length)
    sent = number < torch.tensor(counts)[:, None]
    return sent.flatten().nonzero().squeeze(1).to(device)
