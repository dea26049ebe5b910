"""Where are tokens sent, how did that and the weights move, and what pulls at them?

Arrays are `[bank, expert]`, banks in model order. Where a bank has fewer experts than
the largest, the rest is NaN in numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.core.places import BankPlace
from driftmap.results.experts import ExpertMap

Pool = Literal["example", "token"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RiskDifference:
    """Which experts serve unsafe text more than safe text?

    Args:
        unsafe: Share of unsafe tokens that choose each expert.
        safe: Share of safe tokens.
        difference: The first minus the second; 0 over a bank in sum.
        pool: `example` the mean of the examples' own shares, `token` all tokens alike.
    """

    unsafe: ExpertMap
    safe: ExpertMap
    difference: ExpertMap
    pool: Pool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KeptRouting:
    """Where every observed token of a pass was sent at one bank.

    Args:
        bank: Which bank.
        sample_ids: Axis of samples, in the order of the data.
        sample: Number of the sample of each token on that axis, ascending.
        position: Place of the token in its sample, padding not counted.
        token_ids: What the token is.
        next_ids: What comes after it; -1 at the end of a sample.
        chosen: Experts; a number of `num_experts` or more is one that does nothing.
        weights: What their answers are multiplied by.
        log_probabilities: ln of the router's distribution; None where not kept.
    """

    bank: BankPlace
    sample_ids: tuple[str, ...]
    sample: Int64[np.ndarray, " token"]
    position: Int64[np.ndarray, " token"]
    token_ids: Int64[np.ndarray, " token"]
    next_ids: Int64[np.ndarray, " token"]
    chosen: Int64[np.ndarray, "token slot"]
    weights: Float32[np.ndarray, "token slot"]
    log_probabilities: Float32[np.ndarray, "token expert"] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoActivation:
    """Which experts of one bank are chosen together?

    Args:
        bank: Which bank.
        num_tokens: T, tokens (count).
        both: N_ab, tokens that choose a and b; the diagonal is N_a. The last row and
            column are experts that do nothing, where the model has such.
    """

    bank: BankPlace
    num_tokens: int
    both: Int64[np.ndarray, "expert other"]

    @property
    def conditional(self) -> Float64[np.ndarray, "expert other"]:
        """P(b|a) = N_ab / N_a; NaN where a was never chosen, 1 on the diagonal."""
        chosen = np.diag(self.both)[:, None].astype(np.float64)
        return np.divide(self.both, chosen, out=np.full(self.both.shape, np.nan),
                         where=chosen > 0)  # fmt: skip

    @property
    def lift(self) -> Float64[np.ndarray, "expert other"]:
        """N_ab T / (N_a N_b); 1 for experts that know nothing of each other."""
        chosen = np.diag(self.both).astype(np.float64)
        expected = chosen[:, None] * chosen[None, :]
        return np.divide(self.both * float(self.num_tokens), expected,
                         out=np.full(self.both.shape, np.nan),
                         where=expected > 0)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VocabularyUse:
    """How much does a single token decide which expert comes first?

    Args:
        bank: Which bank.
        by: What names the token: `input`, `next` or `predicted`.
        ids: Token ids that were seen often enough, ascending.
        seen: How often each was seen (count).
        favourite: The expert that most often came first for it.
        share: How often it did, 0 to 1.
        shuffled: Mean share with the experts shuffled over the tokens.
        num_rare: Other token ids, seen too rarely to say anything (count).
    """

    bank: BankPlace
    by: Literal["input", "next", "predicted"]
    ids: Int64[np.ndarray, " id"]
    seen: Int64[np.ndarray, " id"]
    favourite: Int64[np.ndarray, " id"]
    share: Float64[np.ndarray, " id"]
    shuffled: float
    num_rare: int

    @property
    def mean_share(self) -> float | None:
        """Mean over token ids; None where none was seen often enough."""
        return float(self.share.mean()) if self.share.size else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingDrift:
    """How far did the routing of the same tokens move at one bank?

    Args:
        bank: Which bank.
        num_tokens: Tokens (count).
        divergence_nats: Jensen-Shannon divergence of the experts' token shares.
        token_kl_nats: Mean over tokens of KL(before||after) of the router's
            distribution; None where it was not kept.
        saturation: Mean share of a token's experts that stay chosen.
        chance: The same of two blind choices, K / E.
    """

    bank: BankPlace
    num_tokens: int
    divergence_nats: float
    token_kl_nats: float | None
    saturation: float
    chance: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertDrift:
    """How far did every expert's weights move?

    Args:
        banks: Axis of banks.
        relative: ||dW||_F / ||W||_F over all tensors of the expert.
        cosine: Of the weights before and after, over all tensors of the expert.
        stable_rank: By tensor, ||dW||_F^2 / ||dW||_2^2; NaN where nothing moved.
    """

    banks: tuple[BankPlace, ...]
    relative: ExpertMap
    cosine: ExpertMap
    stable_rank: Mapping[str, ExpertMap]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenPushes:
    """How strongly does each token pull at each chosen expert?

    One row per expert, sample and token that was sent there, sorted by bank, expert,
    sample and place of the token among those that were sent there.

    Args:
        banks: Axis of banks.
        sample_ids: Axis of samples.
        bank: Number of the bank.
        expert: Number of the expert.
        sample: Number of the sample.
        token: Place of the token in its sample.
        push: Sum over projections of ||d|| ||x||.
        share: By projection, d^T G x / ||G||^2 with G the gradient of this sample at
            this expert; sums to 1 over its tokens, 0 where G is 0.
    """

    banks: tuple[BankPlace, ...]
    sample_ids: tuple[str, ...]
    bank: Int64[np.ndarray, " row"]
    expert: Int64[np.ndarray, " row"]
    sample: Int64[np.ndarray, " row"]
    token: Int64[np.ndarray, " row"]
    push: Float64[np.ndarray, " row"]
    share: Mapping[str, Float64[np.ndarray, " row"]]
