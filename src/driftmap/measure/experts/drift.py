"""How far did every expert's weights move, and into how many directions?

Differences and their lengths are float64 on the CPU, so that an expert that did not
move has drift 0 exactly.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float, Float64
from scipy.sparse.linalg import svds
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.measure.experts.layout import BankLayout, SlicesOf, matrices
from driftmap.results.expert_evidence import Chosen
from driftmap.results.expert_usage import ExpertDrift

_DENSE = 64


@torch.no_grad()
def expert_drift(
    banks: Sequence[BankLayout], before: SlicesOf, after: SlicesOf, moved: Chosen
) -> ExpertDrift:
    """Compare experts before and after, all tensors of an expert together.

    `||dW||_F / ||W||_F`, `<W, W'> / (||W|| ||W'||)`, and for every matrix
    `||dW||_F^2 / ||dW||_2^2`: 1 where dW has one direction, up to its rank.

    Args:
        banks: In model order.
        before: Gives an expert's weights as they were.
        after: Gives them as they are.
        moved: Experts that can have moved: bank and expert, row by row. All others
            have drift 0, and are not looked at.

    Raises:
        MeasureError: Shapes differ, a number is not finite, or weights that were all 0
            have moved.
    """
    width = max(bank.place.num_experts for bank in banks)
    shape = (len(banks), width)
    there = np.arange(width) < np.array([[b.place.num_experts] for b in banks])
    relative = np.where(there, 0.0, np.nan)
    cosine = np.where(there, 1.0, np.nan)
    names = {tensor.name for bank in banks for tensor in matrices(bank)}
    ranks = {name: np.full(shape, np.nan) for name in sorted(names)}
    for number, expert in moved.tolist():
        bank = banks[number]
        where = f"{bank.place.path}#expert.{expert}"
        old = _settled(before(bank.place, expert), where)
        new = _settled(after(bank.place, expert), where)
        if {n: t.shape for n, t in old.items()} != {n: t.shape for n, t in new.items()}:
            raise MeasureError(
                f"{where}: its tensors before and after differ in name or shape; are "
                "both of the same model?"
            )
        change = {name: new[name] - held for name, held in old.items()}
        if not any(bool(delta.any()) for delta in change.values()):
            continue
        relative[number, expert] = _ratio(_length(change.values()), old, where)
        cosine[number, expert] = _cosine(old, new)
        for tensor in matrices(bank):
            ranks[tensor.name][number, expert] = stable_rank(change[tensor.name])
    return ExpertDrift(
        banks=tuple(bank.place for bank in banks),
        relative=relative,
        cosine=cosine,
        stable_rank=ranks,
    )


def stable_rank(change: Float64[Tensor, "row column"]) -> float:
    """`||dW||_F^2 / ||dW||_2^2`; NaN of a matrix of zeros.

    >>> round(stable_rank(torch.diag(torch.tensor([2.0, 1.0, 1.0]).double())), 9)
    1.5
    """
    if not bool(change.any()):
        return float("nan")
    if min(change.shape) <= _DENSE:
        largest = float(torch.linalg.matrix_norm(change, ord=2))
    else:
        start = np.random.default_rng(0).normal(size=min(change.shape))
        numbers = change.numpy()
        values = svds(numbers, k=1, v0=start, return_singular_vectors=False)
        largest = float(np.asarray(values)[0])
    return float(torch.linalg.vector_norm(change)) ** 2 / largest**2


def _settled(
    tensors: Mapping[str, Float[Tensor, "..."]], where: str
) -> dict[str, Float64[Tensor, "..."]]:
    settled = {name: t.detach().cpu().double() for name, t in tensors.items()}
    for name, values in settled.items():
        if not bool(torch.isfinite(values).all()):
            raise MeasureError(f"{where}: `{name}` holds a number that is not finite")
    return settled


def _length(tensors: Iterable[Float64[Tensor, "..."]]) -> float:
    return sum(float(torch.linalg.vector_norm(t)) ** 2 for t in tensors) ** 0.5


def _ratio(moved: float, old: Mapping[str, Tensor], where: str) -> float:
    length = _length(old.values())
    if length == 0:
        raise MeasureError(
            f"{where}: its weights were all 0, so no part of them can have moved"
        )
    return moved / length


def _cosine(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> float:
    product = sum(float((held * new[name]).sum()) for name, held in old.items())
    lengths = _length(old.values()) * _length(new.values())
    return product / lengths if lengths else 0.0
