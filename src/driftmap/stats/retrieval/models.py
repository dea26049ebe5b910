"""Do several models recognise versions of a sample at the same relative depth?"""

from collections.abc import Iterator, Mapping, Sequence

from driftmap.core.errors import MeasureError
from driftmap.results.retrieval import RetrievalStudy, SetStudy
from driftmap.results.retrieval_models import (
    DepthCurve,
    DepthPoint,
    ModelComparison,
    ModelRow,
    NamedScore,
)
from driftmap.results.retrieval_reading import Reading, UnitKind

_KINDS: tuple[UnitKind, ...] = ("layer", "layer_part", "layer_half")


def compare_models(studies: Mapping[str, RetrievalStudy]) -> ModelComparison:
    """Put studies side by side, layers by relative depth.

    Depth runs from 0 at the first block to 1 at the last, so models of different
    lengths share an axis. Nothing is tested between models: they have seen the data
    through different tokenizers and templates.

    Args:
        studies: Name of each model in the report -> its study.

    Raises:
        MeasureError: There is no study.
    """
    if not studies:
        raise MeasureError("no study is given: compare at least one model")
    return ModelComparison(
        models=tuple(studies),
        rows=tuple(
            _row(model, of_set, _deepest(study))
            for model, study in studies.items()
            for of_set in study.sets
        ),
        curves=tuple(
            curve
            for model, study in studies.items()
            for of_set in study.sets
            for curve in _curves(model, of_set, _deepest(study))
        ),
    )


def relative_depth(layer: int, deepest: int) -> float:
    """Take the number of a block to 0 .. 1.

    >>> relative_depth(3, 12), relative_depth(0, 0)
    (0.25, 0.0)
    """
    return layer / deepest if deepest else 0.0


def _deepest(study: RetrievalStudy) -> int:
    return max((t.layer for t in study.tensors if t.layer is not None), default=0)


def _row(model: str, of_set: SetStudy, deepest: int) -> ModelRow:
    best = of_set.best_tensor
    layer = None if best is None else best.unit.layer
    beside = [r for r in of_set.readings if r.unit.kind == "baseline"]
    return ModelRow(
        model=model,
        set_name=of_set.name,
        num_queries=of_set.num_queries,
        candidates=of_set.preselection.title,
        full=of_set.readings[0].accuracy,
        best_tensor=None if best is None else best.unit.name,
        best_depth=None if layer is None else relative_depth(layer, deepest),
        best=None if best is None else best.reported_on,
        baselines=tuple(NamedScore(name=r.unit.name, score=r.accuracy) for r in beside),
        num_heard=of_set.energy.num_heard_queries,
    )


def _curves(model: str, of_set: SetStudy, deepest: int) -> Iterator[DepthCurve]:
    for kind in _KINDS:
        of_kind = [r for r in of_set.readings if r.unit.kind == kind]
        for name in dict.fromkeys(_line(r) for r in of_kind):
            yield DepthCurve(
                model=model,
                set_name=of_set.name,
                kind=kind,
                name=name,
                points=_points([r for r in of_kind if _line(r) == name], deepest),
            )


def _points(readings: Sequence[Reading], deepest: int) -> tuple[DepthPoint, ...]:
    points: list[DepthPoint] = []
    for reading in readings:
        layer, close = reading.unit.layer, reading.closeness
        assert layer is not None
        points.append(
            DepthPoint(
                layer=layer,
                depth=relative_depth(layer, deepest),
                accuracy=reading.accuracy,
                match=None if close is None else close.match,
                background=None if close is None else close.background,
            )
        )
    return tuple(points)


def _line(reading: Reading) -> str:
    unit = reading.unit
    if unit.kind == "layer_part":
        return str(unit.part)
    return str(unit.half) if unit.kind == "layer_half" else "layer"
