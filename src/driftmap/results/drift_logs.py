"""What do the drift logs of another program hold for whoever draws them?

Summaries alone: no weight is known, so nothing here comes with a p-value.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftmap.results.statistics import Caution
from driftmap.results.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonCheck:
    """One Cohen's d of a `statistical_results.json`, computed again from the logs.

    Args:
        metric: What drifted.
        group: The group in question.
        baseline: What it is compared with.
        published: Cohen's d as the file has it.
        computed: Cohen's d of the logs, or of the file's own means and deviations
            where no step has those; None where it is undefined.
        step: The step whose means and deviations the file repeats; None for none.
        agrees: Both are the same number, but for rounding.
    """

    metric: str
    group: str
    baseline: str
    published: float
    computed: float | None
    step: int | None
    agrees: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LogsStatistics:
    """What follows from drift logs, beside their tables.

    Args:
        steps: Training steps that were logged, ascending.
        metrics: Metrics, in the order of the logs.
        groups: Groups, in the order of the logs.
        gaps: What the logs leave out or leave undefined, a sentence each.
        checks: What `statistical_results.json` says, checked; empty without one.
        cautions: What must be read with care.
        sha256: Name of each file that was read -> its hash.
    """

    steps: tuple[int, ...]
    metrics: tuple[str, ...]
    groups: tuple[str, ...]
    gaps: tuple[str, ...]
    checks: tuple[ComparisonCheck, ...]
    cautions: tuple[Caution, ...]
    sha256: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogsStudy:
    """All that a run folder says about drift logs.

    Args:
        source: Where the logs were read.
        logs: Columns as `store.drift_logs.import_drift_logs` gives them.
        effects: Cohen's d of every pair at every step, columns as in
            `tables/effects.parquet`.
        statistics: What follows from them.
    """

    source: str
    logs: Table
    effects: Table
    statistics: LogsStatistics
