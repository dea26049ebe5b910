"""How does all that is known of each expert become one long table?

One row per round, method and expert, also of those that were not chosen. NaN stands
where a number was not made, and 0 as a rank where no token came.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from driftmap.results.expert_effects import ExpertEffect
from driftmap.results.expert_study import ExpertFacts, ExpertFindings, Identified
from driftmap.results.experts import ExpertMap
from driftmap.results.table import Table
from driftmap.store.tables import save_table

EXPERT_TABLE = "tables/experts.parquet"
"""Where a run keeps it."""

NAMED = ("token_share", "gate_share", "contrast")
"""Maps with a column of their own; any other has `score.` before its name."""


def expert_table(findings: ExpertFindings) -> Table:
    """Put every expert's numbers side by side.

    Returns:
        Columns round, method, path, layer, expert, score, rank, ci_low, ci_high,
        rank_low, rank_high, selection_frequency, p, q, num_routed_tokens,
        rate_unsafe, rate_safe, token_share, gate_share, contrast, chosen, unvisited,
        ablation_estimate, ablation_effect, ablation_low, ablation_high, matched_null,
        weight_drift, and `score.STATISTIC` for each other statistic.
    """
    others = sorted(
        {name for one in findings.identified for name in one.maps} - {*NAMED}
    )
    return Table.joined([_of_one(findings, one, others) for one in findings.identified])


def save_expert_table(folder: Path, findings: ExpertFindings) -> None:
    """Write `tables/experts.parquet`.

    Args:
        folder: Of the run, or of the step that makes it.
        findings: All that the run found out.

    Raises:
        StoreError: The disk refuses.
    """
    file = folder / EXPERT_TABLE
    file.parent.mkdir(exist_ok=True)
    save_table(file, expert_table(findings))


def _of_one(findings: ExpertFindings, one: Identified, others: list[str]) -> Table:
    facts = findings.facts
    rows, experts = _places(facts)
    at = (rows, experts)
    chosen = {(facts.row_of(e), e.expert) for e in one.group.experts}
    routed = one.routed_tokens[at]
    maps = _maps(findings, one, others)
    columns: dict[str, np.ndarray] = {
        "round": np.full(len(rows), one.round),
        "method": np.full(len(rows), one.group.method),
        "path": np.array([facts.banks[row].path for row in rows]),
        "layer": np.array([facts.banks[row].layer for row in rows]),
        "expert": np.array(experts),
        "score": one.score[at],
        "rank": _ranks(one.score[at], routed),
        "num_routed_tokens": routed,
        "chosen": np.array([place in chosen for place in zip(*at, strict=True)]),
        "unvisited": routed == 0,
    }
    nothing = np.full(len(rows), np.nan)
    columns |= {
        name: nothing if numbers is None else numbers[at].astype(np.float64)
        for name, numbers in maps.items()
    }
    return Table(columns=columns)


def _places(facts: ExpertFacts) -> tuple[list[int], list[int]]:
    """Bank and number of every expert, bank by bank."""
    pairs = [
        (row, expert)
        for row, bank in enumerate(facts.banks)
        for expert in range(bank.num_experts)
    ]
    return [row for row, _ in pairs], [expert for _, expert in pairs]


def _ranks(score: np.ndarray, routed: np.ndarray) -> np.ndarray:
    """1 the highest, ties in the order of the table; 0 where no token came."""
    ranks = np.zeros(len(score), dtype=np.int64)
    visited = np.flatnonzero((routed > 0) & np.isfinite(score))
    order = visited[np.argsort(-score[visited], kind="stable")]
    ranks[order] = np.arange(1, len(order) + 1)
    return ranks


def _maps(
    findings: ExpertFindings, one: Identified, others: list[str]
) -> Mapping[str, ExpertMap | None]:
    intervals, tests, risk = one.intervals, one.tests, one.risk
    drift = findings.drift.get(one.group.method)
    return {
        "ci_low": None if intervals is None else intervals.low,
        "ci_high": None if intervals is None else intervals.high,
        "rank_low": None if intervals is None else intervals.rank_low,
        "rank_high": None if intervals is None else intervals.rank_high,
        "selection_frequency": None if intervals is None else intervals.frequency,
        "p": None if tests is None else tests.p,
        "q": None if tests is None else tests.q,
        "rate_unsafe": None if risk is None else risk.unsafe,
        "rate_safe": None if risk is None else risk.safe,
        **{name: one.maps.get(name) for name in NAMED},
        "ablation_estimate": findings.ablation_estimate,
        **_ablations(findings, one.score.shape),
        "weight_drift": None if drift is None else drift.relative,
        **{f"score.{name}": one.maps.get(name) for name in others},
    }


def _ablations(
    findings: ExpertFindings, shape: tuple[int, ...]
) -> dict[str, ExpertMap | None]:
    """What really taking single experts away did to refusal log-odds."""
    found = list(_single(findings))
    names = ("ablation_effect", "ablation_low", "ablation_high", "matched_null")
    if not found:
        return dict.fromkeys(names)
    maps = {name: np.full(shape, np.nan) for name in names}
    for effect in found:
        (expert,) = effect.experts
        at = (findings.facts.row_of(expert), expert.expert)
        maps["ablation_effect"][at] = effect.change.estimate
        maps["ablation_low"][at] = effect.change.low
        maps["ablation_high"][at] = effect.change.high
        if effect.null is not None:
            maps["matched_null"][at] = float(np.mean(effect.null.changes))
    return {**maps}


def _single(findings: ExpertFindings) -> Iterator[ExpertEffect]:
    if findings.effects is None:
        return
    for effect in findings.effects.effects:
        named = (effect.action, effect.outcome, len(effect.experts))
        if named == ("ablate", "refusal_log_odds", 1):
            yield effect
