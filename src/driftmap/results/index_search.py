"""Which samples of an index come nearest to a query, and how sure is that?"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

NOBODY = -1
"""In `samples`: fewer samples than asked for have a direction."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """The best samples of each query, by what the index holds.

    Args:
        samples: Numbers of the samples, best first; equal scores in index order.
            `NOBODY` fills up.
        score: Estimated cosine of query and sample; NaN where there is nobody.
        error: Its standard error.
    """

    samples: Int64[np.ndarray, "query rank"]
    score: Float64[np.ndarray, "query rank"]
    error: Float64[np.ndarray, "query rank"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranking:
    """The best samples of each query after exact cosines were measured.

    Args:
        samples: Numbers of the samples, best first; `NOBODY` fills up.
        score: Exact cosine where it was measured, else the index's estimate.
        error: Standard error; 0 where the cosine is exact.
        is_exact: Where the cosine was measured and not estimated.
        num_measured: Samples per query whose exact cosine was measured.
        is_settled: False where `--max-rerank` was reached before the next estimate
            fell far enough below: a better sample may have been left out.
    """

    samples: Int64[np.ndarray, "query rank"]
    score: Float64[np.ndarray, "query rank"]
    error: Float64[np.ndarray, "query rank"]
    is_exact: Bool[np.ndarray, "query rank"]
    num_measured: Int64[np.ndarray, " query"]
    is_settled: Bool[np.ndarray, " query"]
