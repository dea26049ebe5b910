"""What does an adapter add to one matrix, before anything is merged?"""

from dataclasses import dataclass

import torch
from jaxtyping import Float64
from torch import Tensor

from driftmap.core.places import Site


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoraFactors:
    """`dW = scale * up @ down` of one site (Hu et al. 2021, section 4.1).

    Args:
        down: A, from the inputs to the adapter's rank.
        up: B, from the rank to the outputs of this site (rows of a fused map
            are already cut to the site).
        scale: alpha / r, or alpha / sqrt(r) for rsLoRA.
    """

    down: Float64[Tensor, "rank column"]
    up: Float64[Tensor, "row rank"]
    scale: float


def cut_to_site(down: Tensor, up: Tensor, scale: float, site: Site) -> LoraFactors:
    """Take the factors of a whole module to one of its sites, in float64.

    Args:
        down: A of the module, `[rank column]`, any float dtype.
        up: B of the module, `[module_row rank]`, any float dtype.
        scale: The adapter's scale.
        site: Which rows of the module are wanted.

    Returns:
        Factors of the site alone.
    """
    if site.split is not None:
        up = up[torch.tensor(site.split.rows(), device=up.device)]
    return LoraFactors(
        down=down.detach().to(torch.float64),
        up=up.detach().to(torch.float64),
        scale=float(scale),
    )
