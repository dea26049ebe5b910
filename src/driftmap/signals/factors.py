"""What does an adapter add to one matrix, before anything is merged?"""

from dataclasses import dataclass

from jaxtyping import Float64
from torch import Tensor


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
