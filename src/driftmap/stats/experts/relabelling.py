"""Would an expert score as high if samples had been labelled by chance?

Labels are exchanged between the two sides, cluster by cluster: a cluster's mean is one
observation. The highest t of each relabelling stands beside every expert's own, which
holds the error of all experts together (Westfall and Young 1993, max-T).
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float64
from scipy.stats import false_discovery_control

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.expert_evidence import ExpertFlags, ExpertTests
from driftmap.results.experts import ExpertMap
from driftmap.stats.experts.sampled import SampledScore, Side

_CHUNK = 2**22
_TIE = 1e-9
_ROUNDING = 1e-24

Observations = Float64[np.ndarray, "cluster tested"]
Others = Float64[np.ndarray, "other tested"]


def relabelled(
    sampled: SampledScore, seed: int, num_draws: int = 9999
) -> ExpertTests | None:
    """Test every expert's difference between two sides, one-sided: own is higher.

    Paired sides are exchanged inside pairs; others are mixed and dealt out anew.

    Args:
        sampled: A score with a second side; each a mean over examples.
        seed: The run's seed.
        num_draws: Relabellings; corrected tests of M experts need about M / .05.

    Returns:
        None where a side has fewer than two clusters, and so no spread.

    Raises:
        MeasureError: The score is no difference of means.
    """
    if sampled.against is None or sampled.own.sizes is not None:
        raise MeasureError(
            f"{sampled.name}: only a difference of two means over examples can be "
            "tested; use a contrast, or pool by example"
        )
    own, known = _observations(sampled.own)
    against, _ = _observations(sampled.against)
    if min(len(own), len(against)) < 2:
        return None
    rng = np.random.default_rng(child_seed(seed, "expert labels"))
    if sampled.paired:
        found = _paired(own - against, num_draws, rng)
    else:
        found = _unpaired(own, against, num_draws, rng)
    q = np.asarray(false_discovery_control(found.p), dtype=np.float64)
    return ExpertTests(
        t=_spread(found.t, known),
        p=_spread(found.p, known),
        p_family=_spread(found.p_family, known),
        q=_spread(q, known),
        num_tests=found.t.size,
        num_draws=num_draws,
        is_paired=sampled.paired,
    )


def welch_t(own: Observations, against: Others) -> Float64[np.ndarray, " tested"]:
    """`(m1 - m2) / sqrt(v1 / n1 + v2 / n2)`; 0 where nothing differs or varies.

    >>> a, b = np.array([[3.0], [5.0]]), np.array([[1.0], [1.0], [1.0]])
    >>> welch_t(a, b)
    array([3.])
    """
    both = np.concatenate([own, against])
    label = (np.arange(len(both)) < len(own)).astype(np.float64)
    return _welch(both, label[None])[0]


def _observations(side: Side) -> tuple[Observations, ExpertFlags]:
    """Mean of every cluster at every expert that there is; and where these are."""
    known = np.asarray(~np.isnan(side.values).any(axis=0))
    values = side.values[:, known].astype(np.float64)
    summed = np.zeros((side.num_clusters, values.shape[1]))
    np.add.at(summed, side.clusters, values)
    size = np.bincount(side.clusters, minlength=side.num_clusters)
    return summed / size[:, None], known


def _unpaired(
    own: Observations,
    against: Others,
    num_draws: int,
    rng: np.random.Generator,
) -> "_Found":
    both = np.concatenate([own, against])
    label = (np.arange(len(both)) < len(own)).astype(np.float64)
    found = _Found(_welch(both, label[None])[0])
    for count in _steps(num_draws, both):
        found.add(_welch(both, rng.permuted(np.tile(label, (count, 1)), axis=1)))
    return found


def _paired(
    differences: Observations, num_draws: int, rng: np.random.Generator
) -> "_Found":
    found = _Found(_paired_t(differences, np.ones((1, len(differences))))[0])
    for count in _steps(num_draws, differences):
        signs = rng.choice([-1.0, 1.0], size=(count, len(differences)))
        found.add(_paired_t(differences, signs))
    return found


class _Found:
    """Counts of draws that reach what was seen."""

    def __init__(self, seen: Float64[np.ndarray, " tested"]) -> None:
        self.t = seen
        slack = np.where(np.isfinite(seen), _TIE * (1 + np.abs(seen)), 0.0)
        self._reach = seen - slack
        self._alone = np.ones(seen.size)
        self._highest = np.ones(seen.size)
        self._num = 1

    def add(self, drawn: Float64[np.ndarray, "draw tested"]) -> None:
        """Count some draws."""
        self._alone += (drawn >= self._reach).sum(axis=0)
        self._highest += (drawn.max(axis=1)[:, None] >= self._reach).sum(axis=0)
        self._num += len(drawn)

    @property
    def p(self) -> Float64[np.ndarray, " tested"]:
        """(1 + draws that reach it) / (1 + draws)."""
        return self._alone / self._num

    @property
    def p_family(self) -> Float64[np.ndarray, " tested"]:
        """The same of each draw's highest."""
        return self._highest / self._num


def _steps(num_draws: int, values: Observations) -> Iterator[int]:
    most = max(1, _CHUNK // values.shape[1])
    for first in range(0, num_draws, most):
        yield min(most, num_draws - first)


def _welch(
    both: Observations, labels: Float64[np.ndarray, "draw cluster"]
) -> Float64[np.ndarray, "draw tested"]:
    Z = both - both.mean(axis=0)
    n1 = labels.sum(axis=1, keepdims=True)
    n2 = len(both) - n1
    squares = Z**2
    s1, q1 = labels @ Z, labels @ squares
    s2, q2 = Z.sum(axis=0) - s1, squares.sum(axis=0) - q1
    m1, m2 = s1 / n1, s2 / n2
    v1 = (q1 - n1 * m1**2) / (n1 - 1)
    v2 = (q2 - n2 * m2**2) / (n2 - 1)
    return _ratio(m1 - m2, v1 / n1 + v2 / n2, squares.mean(axis=0))


def _paired_t(
    differences: Observations, signs: Float64[np.ndarray, "draw cluster"]
) -> Float64[np.ndarray, "draw tested"]:
    n = len(differences)
    mean = signs @ differences / n
    square = (differences**2).mean(axis=0)
    return _ratio(mean, (square - mean**2) / (n - 1), square)


def _ratio(
    difference: Float64[np.ndarray, "draw tested"],
    variance: Float64[np.ndarray, "draw tested"],
    scale: Float64[np.ndarray, " tested"],
) -> Float64[np.ndarray, "draw tested"]:
    """A difference in standard errors; of nothing that varies, 0 or without end."""
    flat = variance <= _ROUNDING * scale
    error = np.sqrt(np.where(flat, 1.0, variance))
    same = np.abs(difference) <= np.sqrt(_ROUNDING * scale)
    certain = np.where(same, 0.0, np.copysign(np.inf, difference))
    return np.where(flat, certain, difference / error)


def _spread(values: Float64[np.ndarray, " tested"], known: ExpertFlags) -> ExpertMap:
    full = np.full(known.shape, np.nan)
    full[known] = values
    return full
