"""How much of a group is chosen again after tuning, over training seeds?"""

import numpy as np
from jaxtyping import Float64

from driftmap.results.freeze_study import ArmKind, OverlapReading
from driftmap.results.statistics import Interval
from driftmap.results.table import Table
from driftmap.stats.intervals import t_interval


def overlap_reading(kind: ArmKind, share: float, rows: Table) -> OverlapReading:
    """Read the overlaps of one kind of training run.

    Args:
        kind: What was frozen.
        share: Which part of it.
        rows: One row per training seed, over all matrices.
    """
    across = rows["across"].astype(np.float64)
    return OverlapReading(
        kind=kind,
        share=share,
        jaccard=_interval(rows["jaccard"].astype(np.float64)),
        across=_interval(across) if np.isfinite(across).all() else None,
        kept=float(rows["kept"].mean()),
        kept_frozen=_known(rows, "kept_frozen"),
        kept_mobile=_known(rows, "kept_mobile"),
        frozen_new=_known(rows, "frozen_new"),
        floor=float(rows["floor"].mean()),
        ceiling=_known(rows, "ceiling"),
        standing=_known(rows, "across_standing"),
        num_samples=int(rows["num_samples"][0]),
    )


def _interval(values: Float64[np.ndarray, " seed"]) -> Interval:
    """Mean with a t interval over seeds; one seed has no spread."""
    found = t_interval(values, 0.95)
    if found is not None:
        return found
    mean = float(values.mean())
    return Interval(estimate=mean, low=mean, high=mean, level=0.95, num=values.size)


def _known(rows: Table, column: str) -> float | None:
    values = rows[column].astype(np.float64)
    return float(values.mean()) if np.isfinite(values).all() else None
