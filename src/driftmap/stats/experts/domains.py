"""Do kinds of text go to different experts, and how much of that is chance?

Two kinds are as far apart as half the sum of absolute differences between their
shares of a bank's choices: 0 where both are sent alike, 1 where they share no expert.
Chance is what the same samples give when their kinds are shuffled.
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.errors import DataError, MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.expert_views import DomainRouting, Specialised
from driftmap.results.experts import RoutingCounts

_Kinds = Int64[np.ndarray, " example"]


def routing_by_domain(
    counts: RoutingCounts, domains: Sequence[str]
) -> tuple[DomainRouting, ...]:
    """Add up where each kind of text is sent.

    Args:
        counts: Where every sample was sent.
        domains: Kind of each sample, in the same order.

    Returns:
        One per kind, in the order in which the kinds first come.

    Raises:
        DataError: Samples and kinds differ in number.
        MeasureError: A sample was sent to no expert of some bank.
    """
    names, kinds = _numbered(counts, domains)
    shares = _shares(counts, kinds, len(names))
    beyond = np.arange(counts.chosen.shape[2]) >= _num_experts(counts)[:, None]
    return tuple(
        DomainRouting(
            name=name,
            num_tokens=int(counts.tokens[kinds == number].sum()),
            before=np.where(beyond, np.nan, shares[number]),
        )
        for number, name in enumerate(names)
    )


def specialised(
    counts: RoutingCounts,
    domains: Sequence[str],
    *,
    seed: int,
    num_permutations: int = 50,
) -> Specialised:
    """Measure how differently a bank's experts are used by kinds of text.

    Args:
        counts: Where every sample was sent.
        domains: Kind of each sample, in the same order; at least two kinds.
        seed: What shuffled kinds are drawn from.
        num_permutations: How often kinds are shuffled; 0 for no chance level.

    Returns:
        Per bank the mean over pairs of kinds, and the highest of the shuffled ones.

    Raises:
        DataError: Samples and kinds differ in number, or there is one kind only.
        MeasureError: A sample was sent to no expert of some bank.
    """
    names, kinds = _numbered(counts, domains)
    if len(names) < 2:
        raise DataError(
            f"all {len(kinds)} samples are {names}; give samples of at least two kinds"
        )
    rng = np.random.default_rng(child_seed(seed, "shuffled domains"))
    shuffled = [
        _variation(_shares(counts, rng.permutation(kinds), len(names)))
        for _ in range(num_permutations)
    ]
    seen = _variation(_shares(counts, kinds, len(names)))
    chance = np.max(shuffled, axis=0) if shuffled else np.zeros(0)
    return Specialised(variation=tuple(seen.tolist()), chance=tuple(chance.tolist()))


def _numbered(
    counts: RoutingCounts, domains: Sequence[str]
) -> tuple[tuple[str, ...], _Kinds]:
    if len(domains) != len(counts.sample_ids):
        raise DataError(
            f"{len(domains)} kinds of text for {len(counts.sample_ids)} samples; give "
            "each sample one"
        )
    idle = np.argwhere(counts.chosen.sum(axis=2) == 0)
    if len(idle):
        sample, bank = idle[0].tolist()
        raise MeasureError(
            f"{counts.banks[bank].path}: no token of sample "
            f"{counts.sample_ids[sample]!r} was sent to any expert; leave the sample "
            "out, or count other tokens"
        )
    names = tuple(dict.fromkeys(domains))
    return names, np.array([names.index(name) for name in domains], dtype=np.int64)


def _num_experts(counts: RoutingCounts) -> Int64[np.ndarray, " bank"]:
    return np.array([bank.num_experts for bank in counts.banks], dtype=np.int64)


def _shares(
    counts: RoutingCounts, kinds: _Kinds, num_kinds: int
) -> Float64[np.ndarray, "domain bank expert"]:
    """Each kind's choices by bank; they sum to 1 over a bank."""
    is_kind = np.arange(num_kinds)[:, None] == kinds
    chosen = np.tensordot(is_kind.astype(np.float64), counts.chosen, axes=1)
    return chosen / chosen.sum(axis=2, keepdims=True)


def _variation(
    shares: Float64[np.ndarray, "domain bank expert"],
) -> Float64[np.ndarray, " bank"]:
    """Mean total variation over pairs of kinds: sum_e |p_e - q_e| / 2."""
    pairs = combinations(range(len(shares)), 2)
    apart = [np.abs(shares[a] - shares[b]).sum(axis=1) / 2 for a, b in pairs]
    return np.mean(apart, axis=0)
