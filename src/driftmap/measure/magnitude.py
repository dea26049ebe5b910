"""Which scores of a weight need no sample at all?

Its size, its distance from the weight of another model, and chance. They are what
the scores that read samples are compared with.
"""

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.signals.scores import WeightOf


def magnitude(site: Site, weight: WeightOf) -> Float32[Tensor, "row column"]:
    """Score every weight of a matrix by `|W_ij|`.

    Args:
        site: The matrix.
        weight: Gives W.

    Returns:
        Scores in float32, on the CPU.
    """
    return weight(site).detach().float().abs().cpu()


def difference(
    site: Site, weight: WeightOf, base: WeightOf
) -> Float32[Tensor, "row column"]:
    """Score every weight of a matrix by `|W_ij - W_base,ij|`.

    Args:
        site: The matrix.
        weight: Gives W.
        base: Gives W_base, of the same shape.

    Returns:
        Scores in float32, on the CPU.
    """
    W = weight(site).detach().float()
    return (W - base(site).detach().float().to(W.device)).abs_().cpu()


def chance(site: Site, seed: int) -> Float32[Tensor, "row column"]:
    """Score every weight of a matrix by a uniform draw from 0 to 1.

    Args:
        site: The matrix; the order in which matrices are visited does not matter.
        seed: The run's seed.

    Returns:
        Scores in float32, on the CPU; the same on every machine.
    """
    draw = np.random.default_rng(child_seed(seed, "chance", site.key))
    return torch.from_numpy(draw.random(site.shape, dtype=np.float32))
