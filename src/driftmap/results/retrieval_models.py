"""Do several models recognise versions of a sample at the same relative depth?"""

from dataclasses import dataclass

from driftmap.results.retrieval_reading import Score, UnitKind
from driftmap.results.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthPoint:
    """One layer of one model.

    Args:
        layer: Number of the block, from 0.
        depth: The same from 0 (first block) to 1 (last); 0 where there is one block.
        accuracy: Of the layer's joined tensors.
        match: Mean cosine of a query with its truth; None where there is none.
        background: The same with the other candidates.
    """

    layer: int
    depth: float
    accuracy: Score
    match: Interval | None
    background: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthCurve:
    """A model along its depth, on one set.

    Args:
        model: Name of the model in the report.
        set_name: The set of queries.
        kind: `layer`, `layer_part` or `layer_half`.
        name: `layer`, the part, or the half.
        points: By depth.
    """

    model: str
    set_name: str
    kind: UnitKind
    name: str
    points: tuple[DepthPoint, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedScore:
    """A score and whose it is."""

    name: str
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRow:
    """A model's headline on one set.

    Args:
        model: Name of the model in the report.
        set_name: The set of queries.
        num_queries: Queries.
        candidates: The candidates, in words.
        full: Accuracy of the full gradient.
        best_tensor: Name of the best tensor; None where none was chosen.
        best_depth: Its relative depth; None outside the blocks.
        best: Its accuracy on the other half; None likewise.
        baselines: Accuracy of each baseline, by name in the order of the study.
        num_heard: Tensors that the full cosine listens to, on the queries' side.
    """

    model: str
    set_name: str
    num_queries: int
    candidates: str
    full: Score
    best_tensor: str | None
    best_depth: float | None
    best: Score | None
    baselines: tuple[NamedScore, ...]
    num_heard: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelComparison:
    """Several models in one report.

    Args:
        models: Their names, in order.
        rows: One per model and set.
        curves: One per model, set, and layer, part or half.
    """

    models: tuple[str, ...]
    rows: tuple[ModelRow, ...]
    curves: tuple[DepthCurve, ...]
