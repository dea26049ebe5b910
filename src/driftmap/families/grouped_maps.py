"""How is one map per expert applied to rows that lie expert after expert?

Every token goes to several experts: each (token, slot) pair is a row. Rows are sorted
by expert, and within an expert by token, so that an expert's rows lie together and
each sample's rows lie together inside them.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from driftmap.core.errors import ModelError

_HAS_GROUPED = hasattr(torch.nn.functional, "grouped_mm")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertRows:
    """Which token and which slot every row is of, and where each expert's rows end.

    Args:
        num_tokens: Tokens that the bank was given, padding included (count).
        kept: Numbers of the tokens that have rows, ascending.
        token: Token of each row.
        slot: Slot of each row.
        expert: Expert of each row, ascending.
        place: Row of each kept token's slot.
        ends: One past the last row of each expert.
        end_numbers: `ends` on the host.
    """

    num_tokens: int
    kept: Int[Tensor, " kept"]
    token: Int[Tensor, " row"]
    slot: Int[Tensor, " row"]
    expert: Int[Tensor, " row"]
    place: Int[Tensor, "kept slot"]
    ends: Int[Tensor, " expert"]
    end_numbers: tuple[int, ...]

    def of(self, expert: int) -> slice:
        """Rows of one expert; empty where no token was sent to it."""
        start = self.end_numbers[expert - 1] if expert else 0
        return slice(start, self.end_numbers[expert])


def sorted_rows(
    chosen: Int[Tensor, "token slot"],
    num_experts: int,
    kept: Bool[Tensor, " token"] | None = None,
) -> ExpertRows:
    """Sort (token, slot) pairs by expert.

    Args:
        chosen: Experts that each token was sent to.
        num_experts: Experts of the bank (count).
        kept: False on tokens that get no rows, such as padding; all by default.

    Raises:
        ModelError: A token was sent to an expert that the bank does not have.

    >>> rows = sorted_rows(torch.tensor([[2, 0], [0, 1]]), 3)
    >>> rows.token.tolist(), rows.slot.tolist(), rows.ends.tolist()
    ([0, 1, 1, 0], [1, 0, 1, 0], [2, 3, 4])
    """
    num_tokens, num_slots = chosen.shape
    device = chosen.device
    tokens = torch.arange(num_tokens, device=device)
    if kept is not None:
        tokens = tokens[kept.to(device)]
        chosen = chosen[tokens]
    experts, pair = torch.sort(chosen.reshape(-1).long(), stable=True)
    edges = torch.arange(num_experts + 1, device=device)
    starts = torch.searchsorted(experts, edges)
    start, *ends = starts.tolist()  # the only wait for the device
    if ends[-1] - start != len(experts):
        raise ModelError(
            f"a token was sent to expert {int(experts[-1])} of a bank with "
            f"{num_experts}; experts that do nothing or that are on another device "
            "cannot be run here"
        )
    place = torch.empty_like(pair)
    place[pair] = torch.arange(len(pair), device=device)
    return ExpertRows(
        num_tokens=num_tokens,
        kept=tokens,
        token=tokens[pair // num_slots],
        slot=pair % num_slots,
        expert=experts,
        place=place.reshape(-1, num_slots),
        ends=starts[1:].to(torch.int32),
        end_numbers=tuple(ends),
    )


def grouped_product(
    rows: Float[Tensor, "row width"],
    matrices: Float[Tensor, "expert _ _"],
    at: ExpertRows,
    *,
    turned: bool,
) -> Float[Tensor, "row _"]:
    """Multiply every row by its expert's matrix.

    Args:
        rows: What to multiply, in the order of `at`.
        matrices: One matrix per expert.
        at: Which rows are of which expert.
        turned: Multiply by the transpose of the matrix.

    Returns:
        `row @ matrix`, or `row @ matrix.T`, in the matrices' dtype.
    """
    rows = rows.to(matrices.dtype).contiguous()
    if turned:
        matrices = matrices.transpose(-2, -1)
    if len(rows) and _grouped_runs(rows, matrices):
        return torch.nn.functional.grouped_mm(rows, matrices, offs=at.ends)
    product = rows.new_empty(len(rows), matrices.shape[-1])
    start = 0
    for matrix, end in zip(matrices.unbind(0), at.end_numbers, strict=True):
        if end > start:
            torch.mm(rows[start:end], matrix, out=product[start:end])
        start = end
    return product


def summed_by_token(
    rows: Float[Tensor, "row width"],
    at: ExpertRows,
    weights: Float[Tensor, "token slot"] | None = None,
) -> Float[Tensor, "token width"]:
    """Add up the rows of every token, always in the order of its slots.

    Args:
        rows: One vector per row.
        at: Which rows are of which token.
        weights: What each slot's row is multiplied by; 1 by default.

    Returns:
        One vector per token, summed in float32 or wider; 0 where a token has no row.
    """
    wide = torch.promote_types(rows.dtype, torch.float32)
    total = rows.new_zeros(len(at.kept), rows.shape[1], dtype=wide)
    shares = None if weights is None else weights[at.kept].to(wide)
    for slot, place in enumerate(at.place.unbind(1)):
        picked = rows[place]
        if shares is None:
            total += picked
        else:
            total.addcmul_(picked.to(wide), shares[:, slot, None])
    if len(at.kept) == at.num_tokens:
        return total
    whole = total.new_zeros(at.num_tokens, rows.shape[1])
    whole[at.kept] = total
    return whole


def _grouped_runs(rows: Tensor, matrices: Tensor) -> bool:
    """Whether torch's own kernel takes these tensors: rows must be whole 16 bytes."""
    kinds = (torch.float32, torch.bfloat16, torch.float16)
    if not _HAS_GROUPED or rows.dtype not in kinds:
        return False
    widths = (rows.shape[1], matrices.shape[-1])
    if any(width * rows.element_size() % 16 for width in widths):
        return False
    if rows.device.type != "cuda":
        return rows.device.type == "cpu"
    return torch.cuda.get_device_capability(rows.device) >= (8, 0)
