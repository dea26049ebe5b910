"""Which experts does a map of scores choose, and what shape has the group?"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from driftmap.core.errors import MeasureError, UsageError
from driftmap.core.places import BankPlace, ExpertPlace
from driftmap.results.expert_evidence import (
    ChoiceRule,
    Chosen,
    ExpertCounts,
    ExpertFlags,
    GroupShape,
)
from driftmap.results.experts import ExpertMap, ExpertScores
from driftmap.stats.experts.likeness import chance_jaccard, jaccard, kendall_tau

_ROUNDING = 1e-9


def choose(
    scores: ExpertMap, rule: ChoiceRule, unvisited: ExpertFlags | None = None
) -> Chosen:
    """Choose experts by score, the best first; ties go to the earlier expert.

    Args:
        scores: One per expert; NaN where there is no expert, or no score.
        rule: How many, from where.
        unvisited: True where an expert cannot be chosen, as without tokens.

    Returns:
        Bank and expert, row by row in rank order; fewer than `k` where fewer can be
        chosen.

    Raises:
        UsageError: The rule asks for no expert, or for more than there are.
        MeasureError: Scores cannot be divided by their bank's mean or sum.

    >>> choose(np.array([[0.2, 0.9], [0.9, 0.1]]), ChoiceRule(k=3)).tolist()
    [[0, 1], [1, 0], [0, 0]]
    """
    _check(rule, int((~np.isnan(scores)).sum()))
    values = normalised(scores) if rule.normalise == "layer" else scores
    selectable = ~np.isnan(scores)
    if unvisited is not None:
        selectable &= ~unvisited
    if rule.only_positive:
        selectable &= np.nan_to_num(scores) > 0
    flat = np.flatnonzero(selectable)
    order = flat[np.argsort(-values.reshape(-1)[flat], kind="stable")]
    kept = _kept(order, values, rule)
    return np.stack(np.divmod(order[kept], scores.shape[1]), axis=1).astype(np.int64)


def normalised(scores: ExpertMap) -> ExpertMap:
    """Divide every score by the mean of its bank.

    Raises:
        MeasureError: A bank's mean is 0 or less, so that the quotient has no order.

    >>> normalised(np.array([[1.0, 3.0], [10.0, 10.0]]))
    array([[0.5, 1.5],
           [1. , 1. ]])
    """
    known = ~np.isnan(scores)
    filled = np.where(known, scores, 0.0)
    count = np.maximum(known.sum(axis=1), 1)
    mean = filled.sum(axis=1) / count
    size = np.abs(filled).sum(axis=1) / count
    bad = np.flatnonzero(known.any(axis=1) & (mean <= _ROUNDING * size))
    if bad.size:
        raise MeasureError(
            f"the scores of bank {bad[0]} have mean {mean[bad[0]]:.3g}, so they cannot "
            "be divided by it; use `normalise none`"
        )
    return scores / np.where(known.any(axis=1), mean, 1.0)[:, None]


def members(chosen: Chosen, banks: Sequence[BankPlace]) -> tuple[ExpertPlace, ...]:
    """Name chosen experts, in their order.

    Args:
        chosen: Bank and expert, row by row.
        banks: Axis of banks.
    """
    return tuple(
        ExpertPlace(path=banks[b].path, layer=banks[b].layer, expert=int(e))
        for b, e in chosen
    )


def places(experts: Sequence[ExpertPlace], banks: Sequence[BankPlace]) -> Chosen:
    """Find named experts on the axes of maps, in their order.

    Raises:
        MeasureError: An expert is of none of the banks.
    """
    number = {bank.path: row for row, bank in enumerate(banks)}
    found: list[tuple[int, int]] = []
    for one in experts:
        row = number.get(one.path)
        if row is None or not 0 <= one.expert < banks[row].num_experts:
            raise MeasureError(
                f"{one.key}: the model has no such expert; is the group from another "
                "model?"
            )
        found.append((row, one.expert))
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def never_visited(scores: ExpertScores) -> ExpertFlags:
    """Experts that no token was sent to: they score 0 and cannot be chosen."""
    return scores.routed_tokens.sum(axis=0) == 0


def counts_by_bank(chosen: Chosen, num_banks: int) -> tuple[int, ...]:
    """Chosen experts of each bank (count)."""
    return tuple(np.bincount(chosen[:, 0], minlength=num_banks).tolist())


def batch_overlaps(
    batches: Float32[np.ndarray, "batch bank expert"],
    rule: ChoiceRule,
    unvisited: ExpertFlags | None = None,
) -> tuple[float, ...]:
    """Jaccard of the groups that every two consecutive batches would choose.

    Args:
        batches: Score of every batch.
        rule: How each would choose.
        unvisited: Experts that are never chosen.
    """
    groups = [choose(one.astype(np.float64), rule, unvisited) for one in batches]
    return tuple(jaccard(a, b) for a, b in pairwise(groups))


def group_shape(
    scores: ExpertMap,
    rule: ChoiceRule,
    unvisited: ExpertFlags | None,
    routed_tokens: ExpertCounts,
) -> GroupShape:
    """Say how a group lies over banks, and how far depth and traffic explain it.

    Args:
        scores: What it was chosen by.
        rule: How it was chosen.
        unvisited: Experts that cannot be chosen.
        routed_tokens: Tokens that each expert was sent.

    Raises:
        UsageError: As `choose`.
        MeasureError: As `choose`.
    """
    group = choose(scores, rule, unvisited)
    other = _normalised_group(scores, rule, unvisited)
    traffic = np.where(np.isnan(scores), np.nan, routed_tokens)
    num_experts = int((~np.isnan(scores)).sum())
    return GroupShape(
        by_bank=counts_by_bank(group, len(scores)),
        normalised=other,
        normalised_by_bank=None
        if other is None
        else counts_by_bank(other, len(scores)),
        normalised_jaccard=None if other is None else jaccard(group, other),
        chance=chance_jaccard(len(group), len(group), num_experts),
        tau_traffic=kendall_tau(scores, traffic),
    )


def _check(rule: ChoiceRule, num_experts: int) -> None:
    if rule.selection == "top_p":
        if rule.p is None or not 0 < rule.p <= 1:
            raise UsageError(
                f"`selection top_p` got the share {rule.p}; give one above 0, up to 1"
            )
        return
    if rule.k is None or not 1 <= rule.k <= num_experts:
        raise UsageError(
            f"{rule.k} experts were asked for, but there are {num_experts}; choose "
            f"from 1 to {num_experts}"
        )


def _kept(
    order: Int64[np.ndarray, " selectable"], values: ExpertMap, rule: ChoiceRule
) -> Bool[np.ndarray, " selectable"]:
    if rule.selection == "top_p":
        assert rule.p is not None, "checked"
        return _share_before(order, values) < rule.p - _ROUNDING
    assert rule.k is not None, "checked"
    each = rule.k // len(values) if rule.selection == "per_layer" else 0
    kept = _turns(order // values.shape[1]) < each
    rest = np.flatnonzero(~kept)
    kept[rest[: rule.k - int(kept.sum())]] = True
    return kept


def _turns(bank: Int64[np.ndarray, " selectable"]) -> Int64[np.ndarray, " selectable"]:
    """How many experts of its bank stand before each one."""
    by_bank = np.argsort(bank, kind="stable")
    starts = np.searchsorted(bank[by_bank], bank[by_bank])
    turns = np.empty_like(bank)
    turns[by_bank] = np.arange(bank.size) - starts
    return turns


def _share_before(
    order: Int64[np.ndarray, " selectable"], values: ExpertMap
) -> Float64[np.ndarray, " selectable"]:
    if (np.nan_to_num(values) < 0).any():
        raise MeasureError(
            "`selection top_p` takes shares, but some scores are below 0; use `global` "
            "or `per_layer`"
        )
    total = np.nansum(values, axis=1)
    if (total == 0).any():
        raise MeasureError(
            f"the scores of bank {int(np.argmin(total))} sum to 0, so `selection "
            "top_p` has no shares to go by; use `global` or `per_layer`"
        )
    bank = order // values.shape[1]
    share = values.reshape(-1)[order] / total[bank]
    before = np.empty(order.size)
    for one in np.unique(bank):
        inside = bank == one
        before[inside] = np.cumsum(share[inside]) - share[inside]
    return before


def _normalised_group(
    scores: ExpertMap, rule: ChoiceRule, unvisited: ExpertFlags | None
) -> Chosen | None:
    try:
        return choose(scores, replace(rule, normalise="layer"), unvisited)
    except MeasureError:
        return None
