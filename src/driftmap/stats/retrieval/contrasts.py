"""Is one unit right where another is wrong, more often than the other way round?"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.stats import binom, false_discovery_control

from driftmap.results.retrieval_reading import Contrast
from driftmap.stats.retrieval.resampling import Resamples


def contrasts(
    hits: Float64[np.ndarray, "row query"],
    other: Float64[np.ndarray, " query"],
    against: str,
    resamples: Resamples,
) -> tuple[Contrast, ...]:
    """Compare each row with one other on the same queries.

    An id counts as gained where the row has more of its queries right. With one query
    per id this is McNemar's exact test; queries of one id are never counted as two.

    Args:
        hits: Share of a right answer per query.
        other: The same of the other one.
        against: Name of the other one.
        resamples: Of ids.

    Returns:
        One contrast per row, p-values not yet corrected.
    """
    by_id = resamples.sums(hits - other)
    gained, lost = (by_id > _SAME).sum(axis=1), (by_id < -_SAME).sum(axis=1)
    tails = binom.cdf(np.minimum(gained, lost), gained + lost, 0.5)
    changes = resamples.intervals(hits - other)
    found: list[Contrast] = []
    for row, change in enumerate(changes):
        assert change is not None
        found.append(
            Contrast(
                against=against,
                change=change,
                num_gained=int(gained[row]),
                num_lost=int(lost[row]),
                p_value=min(1.0, 2 * float(tails[row])),
            )
        )
    return tuple(found)


def corrected(tests: Sequence[Contrast]) -> tuple[Contrast, ...]:
    """Give tests that were made together their Benjamini-Hochberg p-values."""
    if not tests:
        return ()
    adjusted = false_discovery_control([test.p_value for test in tests])
    return tuple(
        replace(test, p_adjusted=float(p))
        for test, p in zip(tests, adjusted, strict=True)
    )


_SAME = 1e-9
