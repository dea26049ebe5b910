"""What is the score of every weight of a matrix, whole and by halves of the samples?"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from driftmap.core.places import Site

# Axes of mappings stay unnamed: one name has one size in all matrices of a call.
WeightOf = Callable[[Site], Float[Tensor, "_ _"]]
"""Gives the matrix of a site, `[row column]`."""

Scores = dict[Site, Float32[Tensor, "_ _"]]
"""One non-negative score per weight, matrix by matrix."""

Join = Literal["sum", "root"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HalfScores:
    """The shares of two disjoint halves of the samples in one matrix's score.

    Args:
        even: Part of the score that samples with an even index contribute.
        odd: Part that the others contribute.
        join: How parts make the score: `sum` for the size of their sum (parts may
            have a sign), `root` for the root of the sum of their squares.
    """

    even: Float32[Tensor, "row column"]
    odd: Float32[Tensor, "row column"]
    join: Join = "sum"

    @property
    def score(self) -> Float32[Tensor, "row column"]:
        """The score itself: both parts together."""
        if self.join == "root":
            return torch.hypot(self.even, self.odd)
        return (self.even + self.odd).abs_()

    @property
    def alone(self) -> tuple[Tensor, Tensor]:
        """What each half alone would score, up to one factor for all weights."""
        return self.even.abs(), self.odd.abs()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FixedScores:
    """Scores of one matrix that depend on no sample, so that nothing can be halved.

    Args:
        score: One score per weight.
    """

    score: Float32[Tensor, "row column"]


MatrixScores = HalfScores | FixedScores
