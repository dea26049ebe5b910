"""What does a model made from nothing read, and how much does each token count?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WeightedRow:
    """One line of a corpus as token ids.

    Args:
        token_ids: The whole line with its special tokens.
        weights: Per token, how much predicting it counts; 0 is not at all. The
            first one is never used, since nothing predicts the first token.
    """

    token_ids: Int32[np.ndarray, " token"]
    weights: Float32[np.ndarray, " token"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stock:
    """Lines of one kind, and how many of them each training step takes.

    Args:
        name: The kind of line.
        rows: All lines; they are read in shuffled order, over and over.
        rows_per_step: Lines taken at every step.
    """

    name: str
    rows: tuple[WeightedRow, ...]
    rows_per_step: int
