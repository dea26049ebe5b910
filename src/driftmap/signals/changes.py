"""In which shapes does training leave what it added to one matrix?

LoRA leaves factors, DoRA factors and a length per row, a frozen group factors whose
product counts nowhere in the group, and full fine-tuning the change itself.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.places import Site
from driftmap.results.groups import FlatIndex
from driftmap.signals.factors import LoraFactors


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DoraFactors:
    """`W' = g (W + V)` by rows, `V = scale * up @ down`, `g_i = m_i / |(W + V)_i|`.

    Liu et al. 2024, equation 5. What is added to W needs W itself.

    Args:
        factors: V.
        magnitude: m, the length of every row after training.
        start: m before training, where V was 0: |W_i| but for the rounding of whoever
            computed it. Where it is known, `g_i = (m_i / start_i) |W_i| / |(W + V)_i|`,
            so that rounding is no change; None leaves g as above.
    """

    factors: LoraFactors
    magnitude: Float64[Tensor, " row"]
    start: Float64[Tensor, " row"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskedFactors:
    """`dW = scale * up @ down`, and exactly 0 at frozen weights.

    Args:
        factors: What the adapter adds where nothing is frozen.
        frozen: Flat indices within the site, ascending.
    """

    factors: LoraFactors
    frozen: FlatIndex


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DenseChange:
    """dW of a whole matrix, as full fine-tuning leaves it. Hold one at a time."""

    values: Float64[Tensor, "row column"]


MatrixChange = LoraFactors | DoraFactors | MaskedFactors | DenseChange
"""What training added to one matrix."""


def cut_magnitude(magnitude: Tensor, site: Site) -> Float64[Tensor, " row"]:
    """Take the lengths of a whole module's rows to one of its sites, in float64.

    Args:
        magnitude: m of the module, `[module_row]` or `[1 module_row]`, any float dtype.
        site: Which rows of the module are wanted.
    """
    rows = magnitude.detach().reshape(-1)
    if site.split is not None:
        rows = rows[torch.tensor(site.split.rows(), device=rows.device)]
    return rows.to(torch.float64)
