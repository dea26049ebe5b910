"""How far did fine-tuning move the weights of a group?

In float64, from factors without merging, from DoRA, or from a change itself: `settled`
tells these apart, `change` gives dW, `moments` vectors, `spectrum` directions, `matrix`
all that there is to say of one matrix, `matched` the control of equal |W|, `baseline`
what checkpoints share, `table` and `published` the figures.
"""

from driftmap.measure.drift.baseline import DriftBaseline, drift_baseline
from driftmap.measure.drift.change import (
    dense_change,
    difference,
    inner_product,
    weight_change,
)
from driftmap.measure.drift.matrix import changed_matrix
from driftmap.measure.drift.moments import matrix_moments
from driftmap.measure.drift.published import published_summary
from driftmap.measure.drift.table import drift_table

__all__ = [
    "DriftBaseline",
    "changed_matrix",
    "dense_change",
    "difference",
    "drift_baseline",
    "drift_table",
    "inner_product",
    "matrix_moments",
    "published_summary",
    "weight_change",
]
