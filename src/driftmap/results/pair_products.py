"""How much do two samples move a tensor the same way, for many pairs and tensors?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.places import TensorPlace

NONE = -1
"""In `candidates`: this query has fewer candidates than others."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairProducts:
    """Inner products of queries with originals, tensor by tensor, and their energies.

    Everything that is reported of pairs is a reduction of these three. `tensors` are
    places of gradients, or of hidden states where activations were compared.

    Args:
        queries: One id per query.
        originals: One id per original.
        candidates: Numbers of the originals that a query was compared with, best
            first where they were chosen; `NONE` fills up.
        tensors: Where; slices of a fused parameter stand beside each other.
        dot: D, inner product of query and candidate; 0 where there is none. It may lie
            on disk.
        query_energy: A, squared norm of each query; 0 where it has no direction.
        original_energy: B, the same of each original.
        provenance: How the numbers were made, in words by name.
    """

    queries: tuple[str, ...]
    originals: tuple[str, ...]
    candidates: Int64[np.ndarray, "query candidate"]
    tensors: tuple[TensorPlace, ...]
    dot: Float64[np.ndarray, "query candidate tensor"]
    query_energy: Float64[np.ndarray, "query tensor"]
    original_energy: Float64[np.ndarray, "original tensor"]
    provenance: Mapping[str, str] = field(default_factory=dict)

    def cosine(
        self,
        chosen: Sequence[int] | None = None,
        weights: Float64[np.ndarray, " tensor"] | None = None,
    ) -> Float64[np.ndarray, "query candidate"]:
        """Cosine of the gradients of some tensors, joined.

        Args:
            chosen: Numbers of the tensors; all by default.
            weights: One weight of every tensor (not only of those chosen); 1 by
                default.

        Returns:
            `sum w D / sqrt(sum w A * sum w B)`; NaN where there is no candidate, or
            no direction.
        """
        columns = np.arange(len(self.tensors)) if chosen is None else np.array(chosen)
        factor = np.ones(len(columns)) if weights is None else weights[columns]
        asked = self.query_energy[:, columns] @ factor
        found = (self.original_energy[:, columns] @ factor)[self.candidates]
        norms = np.sqrt(asked[:, None] * found)
        norms[(self.candidates == NONE) | (norms == 0)] = np.nan
        return (self.dot[:, :, columns] @ factor) / norms


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """Which original is behind each query.

    Args:
        original: Number of the query's true original.
        same: For every original a number that originals with equal token ids and
            labels share: any of them is right.
        sets: For every query the name of the set that it is from (`paraphrased`).
    """

    original: Int64[np.ndarray, " query"]
    same: Int64[np.ndarray, " original"]
    sets: tuple[str, ...]
