"""How large is a weight, and how large is what it is multiplied by?

Wanda (Sun et al. 2024; Wei et al. 2024, section 3.1): `|W_ij| * a_j` with `a_j` the
root of the mean of `x_j^2` over the observed tokens. One forward pass and one vector
per matrix are enough. The published code takes the sum over a sample's tokens, which
gives the same order within a matrix.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float32, Float64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.signals.fold import Fold, SiteSignal
from driftmap.signals.scores import HalfScores, Scores, WeightOf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SquareSums:
    """Sum over tokens of the squared inputs of one matrix.

    Args:
        total: The sum, per column; None as long as no token reached the matrix.
        num_tokens: Observed tokens that reached it.
        num_samples: Samples seen, also those that never reached the matrix.
    """

    total: Float64[Tensor, " column"] | None = None
    num_tokens: int = 0
    num_samples: int = 0


Halves = tuple[SquareSums, SquareSums]


class Wanda(Fold[SquareSums, Scores]):
    """Score of every weight, one float32 matrix per site.

    Args:
        weight: Gives the scored matrix W, `[row column]`; asked once per site,
            at the end.
    """

    needs_backward = False
    needs_observed = True

    def __init__(self, weight: WeightOf) -> None:
        self._weight = weight

    def num_bytes(self, site: Site) -> int:
        """Memory of one float64 vector; a score is made of it at the end."""
        return 8 * site.num_columns

    def start(self, site: Site) -> SquareSums:
        """No token yet."""
        return SquareSums()

    def update(self, state: SquareSums, signal: SiteSignal) -> SquareSums:
        """Add the squares of the inputs at observed tokens."""
        return _joined(state, _squares(signal, range(len(signal.sample_index))))

    def merge(self, left: SquareSums, right: SquareSums) -> SquareSums:
        """Add the sums of disjoint samples."""
        return _joined(left, right)

    def result(self, states: Mapping[Site, SquareSums]) -> Scores:
        """Multiply the weights by the size of their inputs, on the CPU.

        Raises:
            MeasureError: A site has seen no sample.
        """
        scores: Scores = {}
        for site, state in states.items():
            _require_samples(site, state.num_samples)
            sizes = _sizes(site, state, state.num_tokens)
            scores[site] = _times_size(self._weight, site, sizes)
        return scores


class WandaHalves(Fold[Halves, dict[Site, HalfScores]]):
    """As `Wanda`, kept apart by even and odd samples.

    The squares add up, so a score is the root of the sum of its parts' squares.
    """

    needs_backward = False
    needs_observed = True

    def __init__(self, weight: WeightOf) -> None:
        self._weight = weight

    def num_bytes(self, site: Site) -> int:
        """Memory of two float64 vectors; scores are made of them at the end."""
        return 16 * site.num_columns

    def start(self, site: Site) -> Halves:
        """No token in either half."""
        return SquareSums(), SquareSums()

    def update(self, state: Halves, signal: SiteSignal) -> Halves:
        """Add every sample to the half that its index says."""
        rows: tuple[list[int], list[int]] = ([], [])
        for row, index in enumerate(signal.sample_index):
            rows[index % 2].append(row)
        return (
            _joined(state[0], _squares(signal, rows[0])),
            _joined(state[1], _squares(signal, rows[1])),
        )

    def merge(self, left: Halves, right: Halves) -> Halves:
        """Add the sums of disjoint samples, half by half."""
        return _joined(left[0], right[0]), _joined(left[1], right[1])

    def result(self, states: Mapping[Site, Halves]) -> dict[Site, HalfScores]:
        """Turn the sums into parts of the score on the CPU.

        Raises:
            MeasureError: A site has seen no sample.
        """
        scores: dict[Site, HalfScores] = {}
        for site, (even, odd) in states.items():
            _require_samples(site, even.num_samples + odd.num_samples)
            num_tokens = even.num_tokens + odd.num_tokens
            parts = (_sizes(site, half, num_tokens) for half in (even, odd))
            of_even, of_odd = (_times_size(self._weight, site, a) for a in parts)
            scores[site] = HalfScores(even=of_even, odd=of_odd, join="root")
        return scores


@torch.no_grad()
def _squares(signal: SiteSignal, rows: range | list[int]) -> SquareSums:
    """Sums of some samples of a batch, rounded only at their end."""
    total: Tensor | None = None
    num_tokens = 0
    if rows:
        for call in signal.calls:
            observed = signal.observed[list(rows)].to(call.inputs.device)
            squares = call.inputs[list(rows)][observed].float().square_()
            of_call = squares.sum(dim=0, dtype=torch.float64)
            total = of_call if total is None else total + of_call
            num_tokens += len(squares)
    return SquareSums(total=total, num_tokens=num_tokens, num_samples=len(rows))


def _joined(left: SquareSums, right: SquareSums) -> SquareSums:
    if left.total is None or right.total is None:
        total = right.total if left.total is None else left.total
    else:
        total = left.total + right.total.to(left.total.device)
    return SquareSums(
        total=total,
        num_tokens=left.num_tokens + right.num_tokens,
        num_samples=left.num_samples + right.num_samples,
    )


def _require_samples(site: Site, num_samples: int) -> None:
    if num_samples == 0:
        raise MeasureError(f"{site.key}: no sample was scored")


def _sizes(
    site: Site, state: SquareSums, num_tokens: int
) -> Float32[Tensor, " column"]:
    """Part of the inputs' root mean square over all tokens; 0 where none came."""
    if state.total is None or not num_tokens:
        return torch.zeros(site.num_columns)
    return (state.total / num_tokens).sqrt().float()


def _times_size(
    weight: WeightOf, site: Site, sizes: Float32[Tensor, " column"]
) -> Float32[Tensor, "row column"]:
    W = weight(site).detach().float().abs()
    return W.mul_(sizes.to(W.device)).cpu()
