"""What does putting a state back do on average, and over whom does that vary?

Facts of one subject are not independent: intervals draw subjects anew, each with all
its facts. A mean is taken within a fact first, so that a long subject or prompt counts
as one; `pooled` puts all rows of a role together, as published (Meng et al. 2022,
arXiv:2202.05262).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.stats import rankdata

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import ROLES, TokenRole
from driftmap.results.trace_study import EstimateCheck
from driftmap.results.traces import BestLayer, RoleEffects, RoleLayer, TraceGrid

NUM_RESAMPLES = 2000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How alike an estimate and the exact grid of one fact are.

    Args:
        pearson: Correlation of the cells.
        spearman: Correlation of their ranks.
        top_overlap: Share of the exact largest cells among the estimate's own.
    """

    pearson: float
    spearman: float
    top_overlap: float


def role_effects(
    grids: Sequence[TraceGrid],
    subjects: Sequence[str],
    seed: int,
    *,
    control: Sequence[float | None] | None = None,
    pooled: bool = False,
) -> RoleEffects:
    """Average indirect effects by the role of the token.

    Facts that the model does not know are counted and left out. Rows that were not
    traced (NaN) are no rows.

    Args:
        grids: One for each fact, of one kind of state and one outcome.
        subjects: Subject of each fact: facts of one subject are drawn together.
        seed: The run's seed.
        control: TE of the same noise outside the subject, for each fact; None for
            those where no other span is long enough.
        pooled: All rows of a role in one pool instead of a mean within each fact.

    Returns:
        Means with 95 % percentile bootstrap intervals over subjects; roles that fewer
        than two subjects have are left out, since nothing tells how they vary.

    Raises:
        MeasureError: Grids differ in what they are of, or fewer than two subjects are
            left.
    """
    known = _known(grids, subjects)
    whole = _Draws.of(known.subjects, seed)
    first = known.grids[0]
    total = np.array([grid.total_effect for grid in known.grids])
    cells: list[RoleLayer] = []
    best: list[BestLayer] = []
    for role in ROLES:
        sums, weights = _rows_of(known.grids, role, pooled)
        if len({s for s, w in zip(known.subjects, weights, strict=True) if w}) < 2:
            continue
        means = whole.means(sums, weights)
        cells += _role_layers(role, means, int((weights > 0).sum()))
        best.append(_best(role, means, known.grids))
    return RoleEffects(
        kind=first.kind,
        window=first.window,
        cells=tuple(cells),
        best=tuple(best),
        total_effect=whole.interval(total),
        control_effect=_control(control, known, whole),
        high=float(np.mean([grid.high for grid in known.grids])),
        low=float(np.mean([grid.low for grid in known.grids])),
        num_facts=len(known.grids),
        num_unknown=len(grids) - len(known.grids),
        num_negative=int((total < 0).sum()),
        pooled=pooled,
        method=first.method,
    )


def subject_mean(
    values: Float64[np.ndarray, " fact"], subjects: Sequence[str], seed: int
) -> Interval:
    """Mean of one number over facts, with its interval over subjects.

    Args:
        values: One for each fact.
        subjects: Subject of each fact.
        seed: The run's seed.

    Raises:
        MeasureError: There are fewer than two subjects.

    >>> subject_mean(np.array([1.0, 1.0, 1.0]), ["a", "b", "b"], 0).low
    1.0
    """
    return _Draws.of(subjects, seed).interval(values)


def agreement(
    estimate: TraceGrid, exact: TraceGrid, num_top: int = 5
) -> Agreement | None:
    """Compare an estimated grid with the exact one of the same fact.

    Rows before the subject are left out: nothing can reach them, so any estimate is
    right there. An estimate without sign stands beside the size of exact effects.

    Args:
        estimate: Of the fact.
        exact: Of the same fact, kind and outcome.
        num_top: Largest cells that are looked for (count).

    Returns:
        None where one of the two is the same in all cells and has no correlation.

    Raises:
        MeasureError: They are not of one fact, kind and outcome.
    """
    if _identity(estimate) != _identity(exact) or estimate.fact_id != exact.fact_id:
        raise MeasureError(
            f"fact {estimate.fact_id}, {estimate.kind}: its estimate stands beside "
            f"exact cells of fact {exact.fact_id}, {exact.kind}; pair grids of one "
            "fact, kind and outcome"
        )
    rough = estimate.indirect_effect[estimate.subject[0] :].ravel()
    true = exact.indirect_effect[exact.subject[0] :].ravel()
    if estimate.method == "grad_drop":
        true = np.abs(true)
    traced = np.isfinite(rough) & np.isfinite(true)
    rough, true = rough[traced], true[traced]
    pearson = _correlation(rough, true)
    if pearson is None:
        return None
    spearman = _correlation(rankdata(rough), rankdata(true))
    assert spearman is not None, "ranks vary where values do"
    tops = [set(np.argsort(-x, kind="stable")[:num_top]) for x in (rough, true)]
    return Agreement(
        pearson=pearson,
        spearman=spearman,
        top_overlap=len(tops[0] & tops[1]) / len(tops[1]),
    )


def screen_agreement(
    pairs: Sequence[tuple[TraceGrid, TraceGrid]],
    subjects: Sequence[str],
    seed: int,
    num_top: int = 5,
) -> EstimateCheck:
    """Say how well estimates agree with exact cells, on facts that have both.

    Args:
        pairs: Estimate and exact grid of each fact, all of one kind and method.
        subjects: Subject of each fact.
        seed: The run's seed.
        num_top: Largest cells that are looked for (count).

    Returns:
        Means over facts with intervals over subjects; `num` says over how many facts:
        those whose cells are all alike have no correlation.

    Raises:
        MeasureError: As `agreement`; estimates are of different kinds, or fewer than
            two subjects are left.
    """
    estimates = [estimate for estimate, _ in pairs]
    _require_alike(estimates, subjects)
    found = [agreement(estimate, exact, num_top) for estimate, exact in pairs]
    kept = [(a, s) for a, s in zip(found, subjects, strict=True) if a is not None]
    whole = _Draws.of([subject for _, subject in kept], seed)
    return EstimateCheck(
        kind=estimates[0].kind,
        method=estimates[0].method,
        pearson=whole.interval(np.array([a.pearson for a, _ in kept])),
        spearman=whole.interval(np.array([a.spearman for a, _ in kept])),
        top_overlap=whole.interval(np.array([a.top_overlap for a, _ in kept])),
        num_top=num_top,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Means:
    """A mean by layer and the same of every draw of subjects."""

    whole: Float64[np.ndarray, " layer"]
    drawn: Float64[np.ndarray, "draw layer"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draws:
    """Draws of subjects: how often each is in each, and whose fact each fact is."""

    counts: Float64[np.ndarray, "draw subject"]
    owner: Int64[np.ndarray, " fact"]

    @classmethod
    def of(cls, subjects: Sequence[str], seed: int) -> "_Draws":
        names = {name: number for number, name in enumerate(dict.fromkeys(subjects))}
        num = len(names)
        if num < 2:
            raise MeasureError(
                f"{len(subjects)} facts of {num} subjects that the model knows have "
                "no average with an interval; trace facts of two subjects at least"
            )
        rng = np.random.default_rng(child_seed(seed, "subject bootstrap"))
        counts = rng.multinomial(num, np.full(num, 1 / num), size=NUM_RESAMPLES)
        return cls(
            counts=counts.astype(np.float64),
            owner=np.array([names[subject] for subject in subjects]),
        )

    def means(
        self,
        sums: Float64[np.ndarray, "fact layer"],
        weights: Float64[np.ndarray, " fact"],
    ) -> _Means:
        """Mean by layer; draws that hold no weight are left out."""
        num_subjects = self.counts.shape[1]
        by_subject = np.zeros((num_subjects, sums.shape[1]))
        np.add.at(by_subject, self.owner, sums)
        weight = np.bincount(self.owner, weights, minlength=num_subjects)
        drawn = self.counts @ weight
        held = drawn > 0
        return _Means(
            whole=sums.sum(axis=0) / weights.sum(),
            drawn=(self.counts[held] @ by_subject) / drawn[held, None],
        )

    def interval(self, values: Float64[np.ndarray, " fact"]) -> Interval:
        """Mean over facts of one number each."""
        means = self.means(values[:, None], np.ones(values.size))
        return _intervals(means, values.size)[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Known:
    """Facts that the model knows, and where they stood among all."""

    grids: list[TraceGrid]
    subjects: list[str]
    places: list[int]


def _known(grids: Sequence[TraceGrid], subjects: Sequence[str]) -> _Known:
    _require_alike(grids, subjects)
    places = [i for i, grid in enumerate(grids) if grid.is_known is not False]
    return _Known(
        grids=[grids[i] for i in places],
        subjects=[subjects[i] for i in places],
        places=places,
    )


def _require_alike(grids: Sequence[TraceGrid], subjects: Sequence[str]) -> None:
    if len(grids) != len(subjects):
        raise MeasureError(
            f"{len(grids)} grids and {len(subjects)} subjects; give one for each fact"
        )
    for grid in grids:
        own = (*_identity(grid), grid.method, grid.score.shape[1])
        first = (*_identity(grids[0]), grids[0].method, grids[0].score.shape[1])
        if own != first:
            raise MeasureError(
                f"fact {grid.fact_id} was traced as {own}, fact {grids[0].fact_id} as "
                f"{first}; average grids that were made alike"
            )


def _identity(grid: TraceGrid) -> tuple[object, ...]:
    return grid.kind, grid.window, grid.dims, grid.outcome


def _rows_of(
    grids: Sequence[TraceGrid], role: TokenRole, pooled: bool
) -> tuple[Float64[np.ndarray, "fact layer"], Float64[np.ndarray, " fact"]]:
    """What each fact adds to the sum of a role's rows, and what it weighs."""
    sums = np.zeros((len(grids), grids[0].score.shape[1]))
    weights = np.zeros(len(grids))
    for number, grid in enumerate(grids):
        rows = _role_rows(grid, role)
        if len(rows) > 0:
            sums[number] = rows.sum(axis=0) if pooled else rows.mean(axis=0)
            weights[number] = len(rows) if pooled else 1
    return sums, weights


def _role_rows(grid: TraceGrid, role: TokenRole) -> Float64[np.ndarray, "row layer"]:
    rows = grid.indirect_effect[[role in roles for roles in grid.roles]]
    return rows[~np.isnan(rows).any(axis=1)]


def _intervals(means: _Means, num: int) -> list[Interval]:
    ends = [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]
    lows, highs = np.quantile(means.drawn, ends, axis=0)
    return [
        Interval(
            estimate=float(mean), low=float(low), high=float(high), level=_LEVEL,
            num=num,
        )
        for mean, low, high in zip(means.whole, lows, highs, strict=True)
    ]  # fmt: skip


def _role_layers(role: TokenRole, means: _Means, num: int) -> list[RoleLayer]:
    return [
        RoleLayer(role=role, layer=layer, effect=effect)
        for layer, effect in enumerate(_intervals(means, num))
    ]


def _best(role: TokenRole, means: _Means, grids: Sequence[TraceGrid]) -> BestLayer:
    """Where the mean is largest, there and in every draw."""
    layer = int(np.argmax(means.whole))
    ends = [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2]
    places = means.drawn.argmax(axis=1)
    low, high = np.quantile(places, ends, method="inverted_cdf")
    maxima = [float(r.max()) for g in grids if len(r := _role_rows(g, role)) > 0]
    return BestLayer(
        role=role,
        layer=layer,
        low=int(low),
        high=int(high),
        effect=float(means.whole[layer]),
        mean_of_maxima=float(np.mean(maxima)),
        num=len(maxima),
    )


def _control(
    control: Sequence[float | None] | None, known: _Known, whole: _Draws
) -> Interval | None:
    if control is None:
        return None
    values = [control[place] for place in known.places]
    weights = np.array([0.0 if value is None else 1.0 for value in values])
    if len({s for s, w in zip(known.subjects, weights, strict=True) if w}) < 2:
        return None
    sums = np.array([[value or 0.0] for value in values])
    return _intervals(whole.means(sums, weights), int(weights.sum()))[0]


def _correlation(
    left: Float64[np.ndarray, " _"], right: Float64[np.ndarray, " _"]
) -> float | None:
    if left.size == 0 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    left, right = left - left.mean(), right - right.mean()
    return float(left @ right / np.sqrt((left @ left) * (right @ right)))
