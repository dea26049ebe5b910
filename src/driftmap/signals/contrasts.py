"""What do states look like under one instruction and under its opposite?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairStates:
    """States at the same tokens of the same statements, under two instructions.

    Args:
        honest: Under the honest instruction.
        dishonest: Under the other one, pair by pair.
        statement: Which statement each pair is a cut of, any whole number.
    """

    honest: Float32[np.ndarray, "pair layer width"]
    dishonest: Float32[np.ndarray, "pair layer width"]
    statement: Int64[np.ndarray, " pair"]

    def swapped(self, where: Bool[np.ndarray, " pair"]) -> "PairStates":
        """Exchange the labels of some pairs."""
        swap = where[:, None, None]
        return PairStates(
            honest=np.where(swap, self.dishonest, self.honest),
            dishonest=np.where(swap, self.honest, self.dishonest),
            statement=self.statement,
        )

    def layer(self, index: int) -> "PairStates":
        """One layer alone, by its place on the axis."""
        return PairStates(
            honest=self.honest[:, index : index + 1],
            dishonest=self.dishonest[:, index : index + 1],
            statement=self.statement,
        )
