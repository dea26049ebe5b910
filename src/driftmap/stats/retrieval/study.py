"""What do the products of all pairs say, set by set?"""

import numpy as np

from driftmap.core.errors import MeasureError
from driftmap.results.baselines import Beside
from driftmap.results.pair_products import PairProducts, Truth
from driftmap.results.retrieval import RetrievalSettings, RetrievalStudy
from driftmap.stats.retrieval.one_set import study_set
from driftmap.stats.retrieval.pairs import split_sets


def study_pairs(
    products: PairProducts,
    truth: Truth,
    settings: RetrievalSettings,
    *,
    seed: int,
    beside: Beside | None = None,
) -> RetrievalStudy:
    """Reduce products to everything that is reported of them.

    Products are read query by query, so they may lie on disk. Halves of ids are the
    same in every set; resamples are the same for everything read of one set.

    Args:
        products: Measured or imported.
        truth: Which original is behind each query, and its set.
        settings: What is asked.
        seed: Of halves and resamples.
        beside: Baselines, projections, errors and flags.

    Raises:
        MeasureError: Settings, products, truth or baselines do not fit each other, or
            a product is not a number.
    """
    known = Beside() if beside is None else beside
    _check_settings(products, settings)
    _check_beside(products, known)
    sets = split_sets(products, truth)
    truths = np.unique(truth.same[truth.original])
    counts = np.unique(truth.same, return_counts=True)[1]
    return RetrievalStudy(
        settings=settings,
        seed=seed,
        tensors=products.tensors,
        num_originals=len(products.originals),
        num_duplicates=int(counts[counts > 1].sum()),
        provenance=dict(products.provenance),
        sets=tuple(study_set(pairs, truths, known, settings, seed) for pairs in sets),
    )


def _check_settings(products: PairProducts, settings: RetrievalSettings) -> None:
    if not 0 <= settings.holdout < 1:
        raise MeasureError(
            f"holdout is {settings.holdout}: give the share of originals to report on, "
            "at least 0 and below 1"
        )
    if not settings.recall_at or min(settings.recall_at) < 1:
        raise MeasureError(
            f"recall is asked at {list(settings.recall_at)}: give places from 1 on"
        )
    least = int((products.candidates >= 0).sum(axis=1).min(initial=2))
    if settings.forced and least < 2:
        raise MeasureError(
            f"the truth is always present among {least} candidate: nothing is left to "
            "tell; take 2 candidates or more"
        )


def _check_beside(products: PairProducts, beside: Beside) -> None:
    shape, num = products.candidates.shape, len(products.queries)
    present = products.candidates >= 0
    for baseline in beside.baselines:
        has = [baseline.scores is not None, baseline.ranks is not None]
        if sum(has) != 1 or (has[1] and not baseline.num_ranked):
            raise MeasureError(
                f"baseline {baseline.name}: give scores, or ranks and how many "
                "originals they are among"
            )
        given = baseline.ranks if baseline.scores is None else baseline.scores
        wanted = (num,) if baseline.scores is None else shape
        if given is None or given.shape != wanted:
            raise MeasureError(
                f"baseline {baseline.name}: it has the shape "
                f"{None if given is None else given.shape}, the products have {wanted}"
            )
        if baseline.scores is not None and not np.isfinite(given[present]).all():
            raise MeasureError(
                f"baseline {baseline.name}: the score of a candidate is not a number"
            )
    for projection in beside.projections:
        if projection.cosine.shape != shape:
            raise MeasureError(
                f"projection {projection.name}: it has the shape "
                f"{projection.cosine.shape}, the products have {shape}"
            )
    if beside.dot_error is not None and beside.dot_error.shape != products.dot.shape:
        raise MeasureError(
            f"errors have the shape {beside.dot_error.shape}, the products have "
            f"{products.dot.shape}"
        )
