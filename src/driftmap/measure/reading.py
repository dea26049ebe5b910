"""Along which direction do states under two instructions differ most plainly?

Five ways to find a direction, one sign, one score. `shuffled_pca` is the reading of
Zou et al. 2023 (2310.01405): principal components of pair differences. PCA centres
them first, so with a fixed order the honest direction *is* their mean and is taken
away; only where the order within pairs is shuffled does it stay as variance.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float32, Float64, Int64, Shaped
from scipy.optimize import minimize
from scipy.special import expit

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.honesty import ReadingMethod, ReadingVector
from driftmap.signals.contrasts import PairStates

STRENGTHS = tuple(10.0**power for power in range(1, -4, -1))
"""Penalties that `logistic` chooses from, strongest first."""

NUM_FOLDS = 3

Rows = Float64[np.ndarray, "pair width"]
Labels = Int64[np.ndarray, " pair"]


def reading_vector(
    method: ReadingMethod,
    layers: Sequence[int],
    states: PairStates,
    seed: int = 0,
) -> ReadingVector:
    """Find one direction per layer from training pairs.

    Args:
        method: How.
        layers: The blocks on the layer axis of `states`.
        states: Training pairs alone.
        seed: Draws the order of pairs, folds and blind directions.

    Returns:
        Directions of length 1, signed so that honest states lie higher in most
        training pairs.

    Raises:
        MeasureError: There are fewer than two pairs, states do not differ between
            instructions or do not vary within one, or a number is not finite.

    >>> rng = np.random.default_rng(0)
    >>> noise = rng.standard_normal((2, 20, 1, 3)).astype("f4")
    >>> states = PairStates(honest=noise[0] + np.float32([9, 0, 0]),
    ...                     dishonest=noise[1], statement=np.arange(20))
    >>> vector = reading_vector("mean_difference", [4], states)
    >>> vector.direction.round(0), vector.agreement
    (array([[ 1., -0., -0.]], dtype=float32), array([1.]))
    """
    if len(states.statement) < 2:
        raise MeasureError(
            f"{len(states.statement)} training pairs give no direction; give more "
            "statements"
        )
    found = [
        _one_layer(method, layer, states.layer(place), child_seed(seed, method, layer))
        for place, layer in enumerate(layers)
    ]
    return ReadingVector(
        method=method,
        layers=tuple(layers),
        direction=np.stack([direction for direction, _ in found]).astype(np.float32),
        midpoint=np.stack([middle for _, (middle, _, _) in found]).astype(np.float32),
        pooled_sd=np.array([spread for _, (_, spread, _) in found]),
        agreement=np.array([share for _, (_, _, share) in found]),
    )


def scores(
    vector: ReadingVector, states: Shaped[np.ndarray, "*many layer width"]
) -> Float32[np.ndarray, "*many layer"]:
    """Score states: `(h - midpoint) . d / pooled_sd`, 0 halfway between both classes.

    Args:
        vector: One direction per layer.
        states: Block outputs, of the same layers.
    """
    away = states.astype(np.float64) - vector.midpoint
    along = np.einsum("...lw,lw->...l", away, vector.direction.astype(np.float64))
    return (along / vector.pooled_sd).astype(np.float32)


def first_component(rows: Rows) -> Float64[np.ndarray, " width"]:
    """First principal component of rows, centred first; of length 1.

    >>> first_component(np.array([[2.0, 5.0], [-2.0, 5.0], [4.0, 5.0]])).round(6) + 0.0
    array([1., 0.])
    """
    _, _, right = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
    first = right[0]
    return first if first[np.abs(first).argmax()] > 0 else -first


def _one_layer(
    method: ReadingMethod, layer: int, states: PairStates, seed: int
) -> tuple[
    Float64[np.ndarray, " width"], tuple[Float64[np.ndarray, " width"], float, float]
]:
    """Direction, and the midpoint, spread and agreement along it."""
    honest = states.honest[:, 0].astype(np.float64)
    dishonest = states.dishonest[:, 0].astype(np.float64)
    if not (np.isfinite(honest).all() and np.isfinite(dishonest).all()):
        raise MeasureError(
            f"layer {layer}: a state is not finite; is the dtype narrow?"
        )
    raw = _METHODS[method](honest, dishonest, states.statement, seed)
    length = float(np.linalg.norm(raw))
    if length == 0:
        raise MeasureError(
            f"layer {layer}: both instructions give the same states, so there is no "
            f"direction by {method}; do they differ before the statement?"
        )
    direction = raw / length
    up, down = honest @ direction, dishonest @ direction
    votes = int((up > down).sum()) - int((up < down).sum())
    # A draw is broken by the means, so that exchanged labels still turn the direction.
    sign = -1.0 if (votes or float(up.mean() - down.mean())) < 0 else 1.0
    up, down = sign * up, sign * down
    spread = float(np.sqrt((up.var(ddof=1) + down.var(ddof=1)) / 2))
    if spread == 0:
        raise MeasureError(
            f"layer {layer}: the states of one instruction do not vary, so no score "
            "has a scale; give other statements"
        )
    share = float((up > down).mean() + (up == down).mean() / 2)
    middle = (honest.mean(0) + dishonest.mean(0)) / 2
    return sign * direction, (middle, spread, share)


def _mean_difference(
    honest: Rows, dishonest: Rows, statement: Labels, seed: int
) -> Float64[np.ndarray, " width"]:
    return honest.mean(0) - dishonest.mean(0)


def _shuffled_pca(
    honest: Rows, dishonest: Rows, statement: Labels, seed: int
) -> Float64[np.ndarray, " width"]:
    flips = np.random.default_rng(seed).integers(2, size=(len(honest), 1)) * 2 - 1
    return first_component((honest - dishonest) * flips)


def _random(
    honest: Rows, dishonest: Rows, statement: Labels, seed: int
) -> Float64[np.ndarray, " width"]:
    return np.random.default_rng(seed).standard_normal(honest.shape[1])


def _lda(
    honest: Rows, dishonest: Rows, statement: Labels, seed: int
) -> Float64[np.ndarray, " width"]:
    """`S^-1 (difference of means)`, S shrunk to a ball as Ledoit and Wolf 2004 have it.

    In the basis of the singular vectors of the rows, so that no matrix of width x width
    is formed.
    """
    rows = np.concatenate([honest - honest.mean(0), dishonest - dishonest.mean(0)])
    num, width = rows.shape
    _, singular, right = np.linalg.svd(rows, full_matrices=False)
    variances = singular**2 / num
    mean = variances.sum() / width
    if mean == 0:  # refused below, by the spread along the direction
        return honest.mean(0) - dishonest.mean(0)
    squares = float((variances**2).sum())
    off_ball = squares - width * mean**2
    fourth = float(((rows**2).sum(1) ** 2).sum())
    noise = (fourth / num - squares) / num
    shrunk = 1.0 if off_ball <= 0 else min(1.0, max(noise / off_ball, 1e-6))
    difference = honest.mean(0) - dishonest.mean(0)
    inside = right @ difference
    ball = shrunk * mean
    scaled = inside / ((1 - shrunk) * variances + ball)
    return (difference - right.T @ inside) / ball + right.T @ scaled


def _logistic(
    honest: Rows, dishonest: Rows, statement: Labels, seed: int
) -> Float64[np.ndarray, " width"]:
    """Weights of an L2-penalised logistic regression of the label on the state.

    The penalty is the one with the least loss on folds of training statements, all
    pairs of a statement in one fold. All weights lie in the span of the rows, so they
    are looked for there.
    """
    rows = np.concatenate([honest, dishonest])
    rows = rows - rows.mean(0)
    rows = rows / max(rows.std(), np.finfo(float).tiny)
    left, singular, right = np.linalg.svd(rows, full_matrices=False)
    short = left * singular
    signs = np.repeat([1.0, -1.0], len(honest))
    fold = np.tile(_folds(statement, seed), 2)
    losses = _left_out_losses(short, signs, fold)
    place = int(losses.argmin())
    return right.T @ _path(short, signs)[place][:-1]


def _folds(statement: Labels, seed: int) -> Labels:
    """A fold per pair; all pairs of a statement share it."""
    names, places = np.unique(statement, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return (order % min(NUM_FOLDS, len(names)))[places]


def _left_out_losses(
    rows: Rows, signs: Float64[np.ndarray, " pair"], fold: Labels
) -> Float64[np.ndarray, " strength"]:
    """Summed loss of every penalty on the folds that its weights did not see."""
    total = np.zeros(len(STRENGTHS))
    for one in range(int(fold.max()) + 1):
        out = fold == one
        if not out.all():
            path = np.stack(_path(rows[~out], signs[~out]), axis=1)
            margins = signs[out, None] * (rows[out] @ path[:-1] + path[-1])
            total += np.logaddexp(0, -margins).sum(0)
    return total


def _path(
    rows: Rows, signs: Float64[np.ndarray, " pair"]
) -> list[Float64[np.ndarray, " _"]]:
    """Weights, and the offset after them, of every penalty, each from the one before.

    They have the least `mean loss + penalty / 2 x |weights|^2`.
    """
    found: list[Float64[np.ndarray, " _"]] = []
    start = np.zeros(rows.shape[1] + 1)
    for strength in STRENGTHS:

        def loss(
            w: Float64[np.ndarray, " _"], strength: float = strength
        ) -> tuple[float, Float64[np.ndarray, " _"]]:
            margins = signs * (rows @ w[:-1] + w[-1])
            slopes = -signs * expit(-margins) / len(rows)
            gradient = np.append(rows.T @ slopes + strength * w[:-1], slopes.sum())
            nats = float(np.logaddexp(0, -margins).mean())
            return nats + strength / 2 * float(w[:-1] @ w[:-1]), gradient

        start = minimize(loss, start, jac=True, method="L-BFGS-B", tol=1e-9).x
        found.append(start)
    return found


_METHODS: Mapping[
    ReadingMethod,
    Callable[[Rows, Rows, Labels, int], Float64[np.ndarray, " width"]],
] = {
    "mean_difference": _mean_difference,
    "shuffled_pca": _shuffled_pca,
    "logistic": _logistic,
    "lda": _lda,
    "random": _random,
}
