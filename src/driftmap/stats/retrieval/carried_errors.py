"""How sure are cosines of projected gradients, and how many decisions hang on it?"""

import numpy as np
from jaxtyping import Bool, Float64

from driftmap.results.retrieval_reading import SketchError
from driftmap.stats.retrieval.scoring import Scorer

_SURE = 2.0


def sketch_errors(
    scorer: Scorer, dot_error: Float64[np.ndarray, "query candidate tensor"]
) -> tuple[SketchError | None, ...]:
    """Carry the standard errors of products over to every row of cosines.

    Errors of different tensors and pairs count as independent. A decision is unsure
    when truth and best other lie within two standard errors of their difference.

    Args:
        scorer: One set.
        dot_error: Standard error of each product, of all sets' queries.

    Returns:
        One per row of cosines; None for the mean of cosines, or without any cosine.
    """
    pairs = scorer.pairs
    num_rows = scorer.weights.shape[1]
    squares, num, unsure = (np.zeros(num_rows) for _ in range(3))
    for query in range(pairs.num_queries):
        errors = np.asarray(dot_error[pairs.rows[query]])[pairs.places(query)]
        variance = scorer.squared_errors(query, errors)
        squares += variance.sum(axis=1)
        num += scorer.has_direction(query).sum(axis=1)
        right = pairs.right[query][pairs.places(query)]
        if right.any() and not right.all():
            cosines = scorer.cosines(query)[:num_rows]
            unsure += _is_unsure(cosines, variance, right)
    found: list[SketchError | None] = [
        SketchError(rms=float(np.sqrt(s / n)), num_unsure=int(u)) if n else None
        for s, n, u in zip(squares, num, unsure, strict=True)
    ]
    return (*found, None)


def _is_unsure(
    cosines: Float64[np.ndarray, "row candidate"],
    variance: Float64[np.ndarray, "row candidate"],
    right: Bool[np.ndarray, " candidate"],
) -> Bool[np.ndarray, " row"]:
    rows = np.arange(len(cosines))
    truth, other = cosines[:, right].argmax(axis=1), cosines[:, ~right].argmax(axis=1)
    gap = cosines[:, right][rows, truth] - cosines[:, ~right][rows, other]
    spread = variance[:, right][rows, truth] + variance[:, ~right][rows, other]
    return np.abs(gap) < _SURE * np.sqrt(spread)
