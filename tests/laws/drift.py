"""What must hold for the drift of any adapter, reported by any route?"""

import numpy as np
import torch

from driftmap.measure.drift import dense_change, matrix_moments, weight_change
from driftmap.signals.factors import LoraFactors


def every_index(factors):
    return np.arange(len(factors.up) * factors.down.shape[1])


def merged_change(factors, reference=None):
    """The naive way: merge both states into float64 matrices and subtract."""
    now = factors.scale * (factors.up @ factors.down)
    if reference is None:
        return now
    return now - reference.scale * (reference.up @ reference.down)


def assert_no_drift_to_itself(weight, factors):
    index = every_index(factors)
    assert not weight_change(factors, factors, index).any()
    assert not dense_change(factors, factors).any()
    moments = matrix_moments(weight, factors, factors)
    for part in (moments.rows, moments.columns, moments.rows.total()):
        assert not part.change.any()
        assert not part.cross.any()
        assert not part.l2.any()
        assert not part.cosine_distance[part.directed].any()


def assert_gauge_does_not_matter(weight, factors, factor):
    """(kB, A/k) is the same update as (B, A)."""
    other = LoraFactors(
        down=factors.down / factor, up=factors.up * factor, scale=factors.scale
    )
    index = every_index(factors)
    scale = dense_change(factors).abs().max().item()
    np.testing.assert_allclose(
        weight_change(other, None, index),
        weight_change(factors, None, index),
        rtol=1e-12, atol=1e-13 * scale,
    )  # fmt: skip
    one, two = matrix_moments(weight, factors), matrix_moments(weight, other)
    np.testing.assert_allclose(two.rows.change, one.rows.change, rtol=1e-11)
    np.testing.assert_allclose(two.columns.change, one.columns.change, rtol=1e-11)


def assert_swapping_states_keeps_distance(base, now, then):
    index = every_index(now)
    there, back = weight_change(now, then, index), weight_change(then, now, index)
    np.testing.assert_allclose(there, -back, rtol=1e-9, atol=1e-13)
    one, two = matrix_moments(base, now, then), matrix_moments(base, then, now)
    for unit in ("rows", "columns"):
        a, b = getattr(one, unit), getattr(two, unit)
        np.testing.assert_allclose(a.l2, b.l2, rtol=1e-9)
        np.testing.assert_allclose(a.cosine, b.cosine, rtol=1e-9)


def assert_rows_and_columns_sum_to_the_matrix(weight, factors):
    moments = matrix_moments(weight, factors)
    rows, columns = moments.rows.total(), moments.columns.total()
    for name in ("weight", "cross", "change"):
        np.testing.assert_allclose(
            getattr(rows, name), getattr(columns, name), rtol=1e-9, atol=1e-12
        )
    product = (factors.up.T @ factors.up) @ (factors.down @ factors.down.T)
    np.testing.assert_allclose(
        rows.change.item(), factors.scale**2 * torch.trace(product).item(), rtol=1e-9
    )


def assert_detours_are_not_shorter(steps):
    """|W_2 - W_0| <= |W_1 - W_0| + |W_2 - W_1| for rows, columns and weights."""
    first, middle, last = steps
    weight = torch.zeros(len(first.up), first.down.shape[1])
    direct = matrix_moments(weight, last, first)
    left, right = (
        matrix_moments(weight, middle, first),
        matrix_moments(weight, last, middle),
    )
    for unit in ("rows", "columns"):
        path = getattr(left, unit).l2 + getattr(right, unit).l2
        assert (getattr(direct, unit).l2 <= path * (1 + 1e-12)).all()
    way = dense_change(middle, first).abs() + dense_change(last, middle).abs()
    assert (dense_change(last, first).abs() <= way + 1e-12).all()
