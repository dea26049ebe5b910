"""What will a large batch hold, judged by what small ones hold moment by moment?

The same work on another shape does the same operations, so what is held after each
of them is a sum of few terms: a constant, samples x tokens, and so on. Small shapes
give the factors of each moment; the largest moment of a large shape follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchShape:
    """How large a batch is.

    Args:
        num_samples: Rows.
        num_tokens: Columns, padding included.
        num_columns: Columns in which some row has a counted token.
        num_counted: Counted tokens of all rows.
        num_written: Tokens that are written behind each row, for answers.
    """

    num_samples: int
    num_tokens: int
    num_columns: int = 0
    num_counted: int = 0
    num_written: int = 0

    @property
    def terms(self) -> tuple[float, ...]:
        """What memory is made of: constants, activations, attention, logits."""
        rows, tokens = self.num_samples, self.num_tokens
        return (
            1.0,
            rows,
            rows * (tokens + self.num_written),
            rows * tokens * tokens,
            rows * self.num_columns,
            self.num_counted,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scaling:
    """Factors of every moment of a piece of work.

    Args:
        factors: Bytes per unit of each of a shape's terms.
    """

    factors: Float64[np.ndarray, "moment term"]

    def peak(self, shapes: Sequence[BatchShape]) -> int:
        """The most that is held at once on any of these shapes, in bytes."""
        terms = np.array([shape.terms for shape in shapes])
        return max(0, round(float((terms @ self.factors.T).max())))


def fit_scaling(
    shapes: Sequence[BatchShape], moments: Sequence[Sequence[int]]
) -> Scaling:
    """Find the factors from small shapes.

    Args:
        shapes: Shapes that differ in each of the terms that matter.
        moments: What was held after each operation on each of them, in bytes. Where
            the operations differ in number, the peaks alone are compared.

    >>> small = [BatchShape(num_samples=1, num_tokens=n) for n in (1, 2, 3)]
    >>> scaling = fit_scaling(small, [[10 + n, 4 * n * n] for n in (1, 2, 3)])
    >>> scaling.peak([BatchShape(num_samples=1, num_tokens=10)])
    400
    """
    if len({len(series) for series in moments}) == 1:
        held = np.array(moments, dtype=np.float64)
    else:
        held = np.array([[max(series)] for series in moments], dtype=np.float64)
    terms = np.array([shape.terms for shape in shapes])
    # Terms that are in step with others get the least factors that explain all.
    scale = np.maximum(terms.max(axis=0), 1)
    factors = np.linalg.lstsq(terms / scale, held, rcond=1e-9)[0] / scale[:, None]
    return Scaling(factors=factors.T)
