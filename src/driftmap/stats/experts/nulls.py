"""Which random experts stand beside chosen ones, and does a group stand out?

A chosen expert is deep or shallow, and busy or idle, for reasons of its own. What is
drawn beside it is of the same bank and of like traffic.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int64

from driftmap.core.seeds import child_seed
from driftmap.results.expert_evidence import (
    Chosen,
    ExpertCounts,
    MatchedExperts,
    MatchedScores,
)
from driftmap.results.experts import ExpertMap

_BINS = 5
_IDLE = -1


def matched_experts(
    routed_tokens: ExpertCounts,
    chosen: Chosen,
    seed: int,
    draws: int,
    num_experts: Sequence[int] | None = None,
) -> MatchedExperts:
    """Draw unchosen experts of the same bank and fifth of traffic, none twice.

    Where none of like traffic is left, any other of the bank is drawn, one without
    tokens last of all. Fifths are of the visited experts of the bank.

    Args:
        routed_tokens: Tokens that each expert was sent; 0 where there is no expert.
        chosen: Bank and expert, row by row.
        seed: The run's seed.
        draws: Groups to draw.
        num_experts: Experts of each bank; None where all have as many (count).

    Returns:
        Groups in the order of banks; each draw has the same number of members.
    """
    rng = np.random.default_rng(child_seed(seed, "matched experts"))
    groups: list[list[Int64[np.ndarray, "member 2"]]] = [[] for _ in range(draws)]
    unmatched = np.zeros(draws, dtype=np.int64)
    missing = 0
    for bank in np.unique(chosen[:, 0]):
        taken = chosen[chosen[:, 0] == bank, 1]
        tokens = routed_tokens[
            bank, : None if num_experts is None else num_experts[bank]
        ]
        free = np.setdiff1d(np.arange(tokens.size), taken)
        missing += max(0, taken.size - free.size)
        fifths = _fifths(tokens)
        for draw in range(draws):
            drawn, others = _drawn(taken, free, fifths, rng)
            unmatched[draw] += others
            groups[draw].append(np.stack([np.full_like(drawn, bank), drawn], axis=1))
    empty = np.empty((0, 2), dtype=np.int64)
    rows = [np.concatenate(parts) if parts else empty for parts in groups]
    members = rows[0].shape[0] if rows else 0
    return MatchedExperts(
        groups=np.array(rows, dtype=np.int64).reshape(draws, members, 2),
        num_unmatched=unmatched,
        num_missing=missing,
    )


def matched_scores(
    name: str, values: ExpertMap, chosen: Chosen, matched: MatchedExperts
) -> MatchedScores:
    """Compare a group's mean of some number with that of matched random groups.

    Args:
        name: What the number is called.
        values: One number per expert, not the one that chose them.
        chosen: The group.
        matched: What was drawn beside it; where nothing is left to draw, p is 1.
    """
    seen = float(values[chosen[:, 0], chosen[:, 1]].mean())
    groups = matched.groups
    if not groups.shape[1]:
        return MatchedScores(name=name, seen=seen, drawn=(), p_value=1.0)
    drawn = values[groups[..., 0], groups[..., 1]].mean(axis=1)
    return MatchedScores(
        name=name,
        seen=seen,
        drawn=tuple(drawn.tolist()),
        p_value=float((1 + (drawn >= seen).sum()) / (1 + drawn.size)),
    )


def _fifths(tokens: Int64[np.ndarray, " expert"]) -> Int64[np.ndarray, " expert"]:
    visited = tokens[tokens > 0]
    if not visited.size:
        return np.full_like(tokens, _IDLE)
    ends = np.quantile(visited, np.arange(1, _BINS) / _BINS)
    fifths = np.searchsorted(ends, tokens, side="right")
    return np.where(tokens > 0, fifths, _IDLE).astype(np.int64)


def _drawn(
    taken: Int64[np.ndarray, " member"],
    free: Int64[np.ndarray, " unchosen"],
    fifths: Int64[np.ndarray, " expert"],
    rng: np.random.Generator,
) -> tuple[Int64[np.ndarray, " drawn"], int]:
    """Draw beside each member; those that find none of like traffic come last."""
    left: Bool[np.ndarray, " expert"] = np.zeros(fifths.size, dtype=bool)
    left[free] = True
    drawn: list[int] = []
    waiting = 0
    for expert in rng.permutation(taken):
        alike = np.flatnonzero(left & (fifths == fifths[expert]))
        if not alike.size:
            waiting += 1
            continue
        drawn.append(int(rng.choice(alike)))
        left[drawn[-1]] = False
    rest = rng.permutation(np.flatnonzero(left))
    others = rest[np.argsort(fifths[rest] == _IDLE, kind="stable")][:waiting]
    return np.array([*drawn, *others.tolist()], dtype=np.int64), others.size
