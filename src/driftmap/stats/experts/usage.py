"""Which experts work together, on which words, and did the routing move?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.core.seeds import child_seed
from driftmap.results.expert_usage import (
    CoActivation,
    KeptRouting,
    RoutingDrift,
    VocabularyUse,
)

RARE = 10
"""Token ids seen less often say nothing: one that is seen once scores 1."""

_CHUNK = 2**14


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Favourites:
    """Token ids, how often each came, the expert that most often came first for it."""

    ids: Int64[np.ndarray, " id"]
    seen: Int64[np.ndarray, " id"]
    favourite: Int64[np.ndarray, " id"]
    share: Float64[np.ndarray, " id"]


def co_activation(kept: KeptRouting) -> CoActivation:
    """Count, for every pair of experts, the tokens that chose both.

    All pairs of a token's experts count, whichever slots they stand in.

    Args:
        kept: Every token's experts; those that do nothing share the last row.
    """
    width = _width(kept)
    both = np.zeros((width, width))
    for first in range(0, len(kept.chosen), _CHUNK):
        there = _chosen_flags(kept.chosen[first : first + _CHUNK], width)
        both += there.T.astype(np.float32) @ there.astype(np.float32)
    return CoActivation(
        bank=kept.bank, num_tokens=len(kept.chosen), both=both.astype(np.int64)
    )


def first_choice(kept: KeptRouting) -> Int64[np.ndarray, " token"]:
    """The expert of the largest weight: slots stand in the router's own order."""
    slot = kept.weights.argmax(axis=1)
    return np.take_along_axis(kept.chosen, slot[:, None], axis=1)[:, 0]


def vocabulary_use(
    kept: KeptRouting,
    by: Literal["input", "next", "predicted"],
    seed: int,
    predicted: Int64[np.ndarray, " token"] | None = None,
) -> VocabularyUse:
    """Share of a token id's most frequent first expert, beside shuffled experts.

    Args:
        kept: Every token's experts.
        by: What names a token: itself, the one that follows, or the one that the model
            expects to follow.
        seed: The run's seed.
        predicted: What the model expects, token by token, -1 where it does not tell;
            for `predicted` alone.
    """
    ids = {"input": kept.token_ids, "next": kept.next_ids, "predicted": predicted}[by]
    assert ids is not None, "give what the model expects"
    known = ids >= 0
    expert, ids = first_choice(kept)[known], ids[known]
    rng = np.random.default_rng(child_seed(seed, "vocabulary", kept.bank.path, by))
    found = _favourites(ids, expert)
    often = found.seen >= RARE
    shuffled = _favourites(ids, rng.permutation(expert)).share[often]
    return VocabularyUse(
        bank=kept.bank,
        by=by,
        ids=found.ids[often],
        seen=found.seen[often],
        favourite=found.favourite[often],
        share=found.share[often],
        shuffled=float(shuffled.mean()) if shuffled.size else 0.0,
        num_rare=int((~often).sum()),
    )


def routing_drift(before: KeptRouting, after: KeptRouting) -> RoutingDrift:
    """Compare where the same tokens were sent before and after.

    Args:
        before: Routing of the model as it was.
        after: Routing of the same tokens by the changed model.

    Raises:
        MeasureError: The two hold different tokens.
    """
    same = before.bank == after.bank and all(
        np.array_equal(getattr(before, name), getattr(after, name))
        for name in ("sample_ids", "sample", "position", "token_ids")
    )
    if not same or not len(before.chosen):
        raise MeasureError(
            f"{after.bank.path}: routing before and after is not of the same tokens; "
            "show both models the same samples"
        )
    width = max(_width(before), _width(after))
    a, b = (_chosen_flags(kept.chosen, width) for kept in (before, after))
    kept_share = (a & b).sum(axis=1) / np.maximum(a.sum(axis=1), 1)
    return RoutingDrift(
        bank=before.bank,
        num_tokens=len(before.chosen),
        divergence_nats=jensen_shannon(a.sum(axis=0), b.sum(axis=0)),
        token_kl_nats=_token_kl(before, after),
        saturation=float(kept_share.mean()),
        chance=before.bank.num_chosen / before.bank.num_experts,
    )


def jensen_shannon(
    left: Int64[np.ndarray, " expert"], right: Int64[np.ndarray, " expert"]
) -> float:
    """Jensen-Shannon divergence of two lists of counts, from 0 to ln 2 (nats).

    `(KL(p||m) + KL(q||m)) / 2` with `m = (p + q) / 2`.

    >>> round(jensen_shannon(np.array([1, 0]), np.array([0, 3])), 4)
    0.6931
    """
    p, q = left / left.sum(), right / right.sum()
    middle = (p + q) / 2
    return (_kl(p, middle) + _kl(q, middle)) / 2


def _kl(p: Float64[np.ndarray, " expert"], q: Float64[np.ndarray, " expert"]) -> float:
    some = p > 0
    return float((p[some] * np.log(p[some] / q[some])).sum())


def _token_kl(before: KeptRouting, after: KeptRouting) -> float | None:
    if before.log_probabilities is None or after.log_probabilities is None:
        return None
    log_p = before.log_probabilities.astype(np.float64)
    log_q = after.log_probabilities.astype(np.float64)
    p = np.exp(log_p)
    terms = np.where(p > 0, p * (np.where(p > 0, log_p, 0.0) - log_q), 0.0)
    return float(terms.sum(axis=1).mean())


def _width(kept: KeptRouting) -> int:
    """Experts, and one more where some choices stand for doing nothing."""
    idle = kept.chosen.size > 0 and int(kept.chosen.max()) >= kept.bank.num_experts
    return kept.bank.num_experts + int(idle)


def _chosen_flags(
    chosen: Int64[np.ndarray, "token slot"], width: int
) -> Bool[np.ndarray, "token expert"]:
    there = np.zeros((len(chosen), width), dtype=bool)
    np.put_along_axis(there, np.minimum(chosen, width - 1), values=True, axis=1)
    return there


def _favourites(
    ids: Int64[np.ndarray, " token"], expert: Int64[np.ndarray, " token"]
) -> _Favourites:
    names, number = np.unique(ids, return_inverse=True)
    width = int(expert.max(initial=0)) + 1
    pairs, times = np.unique(number * width + expert, return_counts=True)
    seen = np.bincount(number, minlength=names.size)
    order = np.lexsort((pairs, -times, pairs // width))  # ties go to the earlier expert
    first = np.searchsorted((pairs // width)[order], np.arange(names.size))
    best = order[first]
    return _Favourites(
        ids=names,
        seen=seen,
        favourite=pairs[best] % width,
        share=times[best] / np.maximum(seen, 1),
    )
