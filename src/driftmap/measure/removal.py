"""Which directions of a matrix's output carry a data set, and what is left without?

The right singular vectors V of the outputs `Y = X W^T` (Wei et al. 2024, section 3.2)
follow from `C = X^T X` alone: with `C = L L^T` they are the left singular vectors of
`W L`, and no output is kept. Only products of V with V^T W are formed, never a
projector of output units by output units.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from driftmap.core.errors import MeasureError

_ROUNDING = 8 * torch.finfo(torch.float32).eps
"""What float32 products leave of a direction that no input has, as a share."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutputDirections:
    """Orthonormal directions of one matrix's outputs, the strongest first.

    Args:
        vectors: V, `[row direction]`.
        energies: Squared singular value of Y along each.
        most: R = min(rows, columns): directions there can be.
        num_tokens: Tokens behind them.
    """

    vectors: Float64[Tensor, "row direction"]
    energies: Float64[Tensor, " direction"]
    most: int
    num_tokens: int

    @property
    def rank(self) -> int:
        """Numerical rank of Y: directions that the data tell apart."""
        return self.energies.numel()

    def top(self, count: int, what: str) -> Float64[Tensor, "row count"]:
        """The strongest directions.

        Args:
            count: How many.
            what: Which matrix, for the error.

        Raises:
            MeasureError: The data have fewer.
        """
        if not 0 <= count <= self.rank:
            raise MeasureError(
                f"{what}: {count} of {self.most} directions are asked for, but the "
                f"{self.num_tokens} tokens that were seen tell {self.rank} apart; take "
                "more samples or fewer directions"
            )
        return self.vectors[:, :count]

    def energy_share(self, count: int) -> float:
        """Share of |Y|^2 in the strongest directions; 0 where Y is zero."""
        total = float(self.energies.sum())
        return float(self.energies[:count].sum()) / total if total else 0.0


def output_directions(
    weight: Float[Tensor, "row column"],
    product: Float64[Tensor, "column column"],
    num_tokens: int,
) -> OutputDirections:
    """Find the directions of `Y = X W^T` from `C = X^T X`.

    Inputs of very different size, as language models have them, are first brought to
    one size: `C = D K D` with ones on K's diagonal, so that float32 products blur no
    small input.

    Args:
        weight: W.
        product: C, from `InputCovariance`.
        num_tokens: Tokens in it; Y has no more directions than those.
    """
    size = product.diagonal().clamp(min=0).sqrt()
    scale = torch.where(size > 0, size, torch.ones_like(size))
    values, vectors = torch.linalg.eigh(product / scale / scale[:, None])
    kept = values > _ROUNDING * values[-1].clamp(min=0)
    kept[: max(0, kept.numel() - num_tokens)] = False
    root = size[:, None] * vectors[:, kept] * values[kept].sqrt()
    wide = weight.to(product.device, torch.float64)
    directions, strengths, _ = torch.linalg.svd(wide @ root, full_matrices=False)
    energies = strengths**2
    # The blur of the kept inputs themselves is far below float32's own.
    sound = energies > (max(wide.shape) * torch.finfo(torch.float64).eps) * (
        energies[:1] if energies.numel() else energies
    )
    return OutputDirections(
        vectors=directions[:, sound],
        energies=energies[sound],
        most=min(wide.shape),
        num_tokens=num_tokens,
    )


def without_top(
    weight: Float[Tensor, "row column"],
    directions: OutputDirections,
    count: int,
    what: str = "the matrix",
) -> Float64[Tensor, "row column"]:
    """Remove the strongest directions: `W - V_r (V_r^T W)`.

    Args:
        weight: W.
        directions: Of its outputs.
        count: r; 0 changes nothing.
        what: Which matrix, for an error.

    Raises:
        MeasureError: The data tell fewer directions apart.
    """
    wide = weight.double()
    if not count:
        return wide
    removed = directions.top(count, what).to(wide.device)
    return wide - removed @ (removed.T @ wide)


def without_last(
    weight: Float[Tensor, "row column"],
    directions: OutputDirections,
    count: int,
    what: str = "the matrix",
) -> Float64[Tensor, "row column"]:
    """Remove the weakest directions: `V_(R-r) (V_(R-r)^T W)`.

    Args:
        weight: W.
        directions: Of its outputs.
        count: r, of R = min(rows, columns); 0 changes nothing.
        what: Which matrix, for an error.

    Raises:
        MeasureError: The data tell fewer than R - r directions apart.
    """
    wide = weight.double()
    if not count:
        return wide
    kept = directions.top(directions.most - count, what).to(wide.device)
    return kept @ (kept.T @ wide)


def without_behaviour(
    weight: Float[Tensor, "row column"],
    behaviour: OutputDirections,
    utility: OutputDirections,
    ranks: tuple[int, int],
    what: str = "the matrix",
) -> Float64[Tensor, "row column"]:
    """Remove what the behaviour uses and utility does not.

    `W - (I - V_u V_u^T) V_s V_s^T W`, where V_u holds the top R - r_u directions of
    utility and V_s the top R - r_s of the behaviour: `V_u^T W` stays as it is, and the
    change has rank min(r_u, R - r_s) at most.

    Args:
        weight: W.
        behaviour: Directions of its outputs on samples of the behaviour.
        utility: The same on samples of ordinary ability.
        ranks: (r_u, r_s), each 0 to R.
        what: Which matrix, for an error.

    Raises:
        MeasureError: The data tell fewer directions apart than are asked for.
    """
    wide = weight.double()
    utility_rank, behaviour_rank = ranks
    if not utility_rank:  # utility claims all that W can say
        return wide
    removed = behaviour.top(behaviour.most - behaviour_rank, what).to(wide.device)
    spared = utility.top(utility.most - utility_rank, what).to(wide.device)
    change = removed @ (removed.T @ wide)
    return wide - (change - spared @ (spared.T @ change))
