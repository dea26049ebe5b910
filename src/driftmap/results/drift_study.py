"""What does a finished drift study hold for whoever draws it?"""

from collections.abc import Mapping
from dataclasses import dataclass

from driftmap.results.freezing import Freezing
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import DriftStatistics
from driftmap.results.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCard:
    """A group as the report introduces it.

    Args:
        name: Name in tables and charts.
        num_weights: Its size.
        share: Size over all scored weights.
        chosen: How it was chosen, in words.
        read_from: File that it was read from; empty where the run chose it.
        agreement: Jaccard of the groups that two halves of the samples choose; None
            for a group that no samples choose.
        agreement_by_chance: The same of random groups of their sizes.
    """

    name: str
    num_weights: int
    share: float
    chosen: str
    read_from: str = ""
    agreement: float | None = None
    agreement_by_chance: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DriftStudy:
    """All that a run folder says about one drift study.

    Args:
        settings: The resolved recipe, option -> value.
        model: The model as loaded.
        groups: The groups, the declared one first.
        drift: Columns as in `tables/drift.parquet`.
        curves: Pooled drift over steps, columns step, group, unit, metric, mean, low,
            high (95 % t interval over seeds), std (mean over seeds).
        behaviour: Columns seed, step, outcome, value, count, low, high.
        losses: Columns seed, step, loss_nats, learning_rate.
        statistics: Tests, intervals, verdict.
        versions: Package -> version of what made the run.
        freezing: What was kept from moving; None where every tuned weight could.
        overlaps: How much the groups share, columns as in
            `tables/group_overlap.parquet`; None where the run did not look.
        grid: What the declared group would be at other shares, columns p, q,
            num_weights, share_kept, ceiling, floor, num_samples; None where nobody
            asked.
    """

    settings: Mapping[str, object]
    model: ModelIdentity
    groups: tuple[GroupCard, ...]
    drift: Table
    curves: Table
    behaviour: Table
    losses: Table
    statistics: DriftStatistics
    versions: Mapping[str, str]
    freezing: Freezing | None = None
    overlaps: Table | None = None
    grid: Table | None = None
