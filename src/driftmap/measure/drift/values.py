"""How far did each unit of a group move in one matrix?"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float64

from driftmap.measure.drift.baseline import GroupPlace
from driftmap.measure.drift.moments import MatrixMoments, fragment_moments
from driftmap.results.drift import (
    SMALLEST_WEIGHT,
    DriftMetric,
    DriftUnit,
    Moments,
)

Values = Float64[np.ndarray, " unit"]
UnitMetric = tuple[DriftUnit, DriftMetric]


def unit_values(
    place: GroupPlace, moved: Float64[np.ndarray, " weight"], matrix: MatrixMoments
) -> dict[UnitMetric, Values]:
    """Every metric of every unit of one group in one matrix.

    Units without a value are left out: weights with |W_0| <= 1e-8 from `relative`,
    weights that are zero before or after from `sign_agreement`, vectors without
    direction from `cosine_distance`.

    Args:
        place: The group's weights in the matrix.
        moved: dW of its weights.
        matrix: Moments of all its rows and columns.

    Returns:
        Unit and metric -> one value per unit.
    """
    before = place.weight
    vectors: dict[DriftUnit, Moments] = {
        "fragment": fragment_moments(before, moved, place.starts),
        "row": matrix.rows.take(place.rows),
        "column": matrix.columns.take(place.columns),
    }
    found: dict[UnitMetric, Values] = {
        ("weight", "absolute"): np.abs(moved),
        ("weight", "relative"): relative_change(before, moved),
        ("weight", "sign_agreement"): sign_agreement(before, moved),
    }
    for unit, moments in vectors.items():
        found[unit, "l2"] = moments.l2
        found[unit, "cosine_distance"] = moments.cosine_distance[moments.directed]
    return found


def num_units(place: GroupPlace) -> Mapping[DriftUnit, int]:
    """Units of the group in the matrix that nothing kept from moving."""
    return {
        "weight": place.index.size,
        "fragment": place.starts.size,
        "row": place.rows.size,
        "column": place.columns.size,
    }


def relative_change(
    before: Float64[np.ndarray, " weight"], moved: Float64[np.ndarray, " weight"]
) -> Values:
    """|dW| / |W_0| of the weights with |W_0| > 1e-8.

    >>> relative_change(np.array([2.0, 0.0]), np.array([-1.0, 1.0]))
    array([0.5])
    """
    size = np.abs(before)
    kept = size > SMALLEST_WEIGHT
    return np.abs(moved[kept]) / size[kept]


def sign_agreement(
    before: Float64[np.ndarray, " weight"], moved: Float64[np.ndarray, " weight"]
) -> Values:
    """1 where a weight kept its sign, 0 where it changed it; zeros left out.

    >>> sign_agreement(np.array([2.0, 1.0, 0.0]), np.array([-1.0, -3.0, 1.0]))
    array([1., 0.])
    """
    old, new = np.sign(before), np.sign(before + moved)
    signed = (old != 0) & (new != 0)
    return (old == new)[signed].astype(np.float64)
