"""How far apart are the next-token distributions of two models?

With d = ln q - ln p, both distributions sum to one, and so

    KL(p || q) = sum p (ln p - ln q) = sum p (exp(d) - 1 - d).

No term of the second sum is below 0, and each is 0 exactly where d is. Near d = 0 it is
second order in d, as the divergence itself is: the first sum is first order there and
loses all its digits. Jensen-Shannon is the mean of KL(p || m) and KL(q || m) with
m = (p + q) / 2 (Lin 1991), by the same form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.results.behaviour_change import TokenDivergence

_SMALL = 0.02
"""Below, exp(d) - 1 - d is summed as a series: the difference would lose digits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Divergences:
    """Of each token, in nats."""

    forward: Float[Tensor, " token"]
    backward: Float[Tensor, " token"]
    js: Float[Tensor, " token"]


def divergences(
    before: Float[Tensor, "token vocabulary"], after: Float[Tensor, "token vocabulary"]
) -> Divergences:
    """Compare two next-token distributions at every token, over the whole vocabulary.

    Args:
        before: Logits of the base; the arithmetic is in float32 or wider.
        after: Logits of the tuned model.

    Returns:
        KL from before to after, from after to before, and Jensen-Shannon. All are at
        least 0, and 0 exactly where the logits are equal.

    >>> p, q = torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])
    >>> found = divergences(p.double().log(), q.double().log())
    >>> [round(float(one), 4) for one in (found.forward, found.backward, found.js)]
    [0.1438, 0.1308, 0.0338]
    """
    wide = torch.promote_types(before.dtype, torch.float32)
    log_p, log_q = before.to(wide).log_softmax(1), after.to(wide).log_softmax(1)
    p, q = log_p.exp(), log_q.exp()
    # Both are impossible where a model keeps places of its vocabulary empty.
    d = torch.where(log_p == log_q, 0.0, log_q - log_p)
    to_middle = _to_middle(d)
    m = (p + q) / 2
    from_p, from_q = _terms(p, m, to_middle), _terms(q, m, to_middle - d)
    return Divergences(
        forward=_terms(p, q, d).sum(1),
        backward=_terms(q, p, -d).sum(1),
        js=(from_p.sum(1) + from_q.sum(1)) / 2,
    )


class DivergenceFold:
    """Gathers how far apart two models are, text by text."""

    def __init__(self, sizes: Sequence[int]) -> None:
        """Start with nothing read.

        Args:
            sizes: Tokens of each text (count).
        """
        self._found = [np.full((5, size), np.nan) for size in sizes]
        self._same = [True] * len(sizes)

    def take(
        self,
        text: int,
        place: slice,
        logits: tuple[
            Float[Tensor, "token vocabulary"], Float[Tensor, "token vocabulary"]
        ],
        targets: Int64[Tensor, " token"],
    ) -> None:
        """Take the logits of both models that foretell some tokens of a text.

        Raises:
            MeasureError: A divergence is NaN or infinite.
        """
        before, after = logits
        self._same[text] &= torch.equal(before, after)
        apart = divergences(before, after)
        own = [one.gather(1, targets[:, None])[:, 0] for one in logits]
        rows = [apart.forward, apart.backward, apart.js, *own]
        found = torch.stack([row.cpu().double() for row in rows]).numpy()
        if not np.isfinite(found).all():
            raise MeasureError(
                f"text {text}: the two models cannot be compared, since a token is "
                "impossible in one of them alone, or a logit is NaN; are the weights "
                "finite?"
            )
        self._found[text][:, place] = found

    def result(self) -> tuple[TokenDivergence, ...]:
        """All texts, in order."""
        return tuple(
            TokenDivergence(
                forward=forward,
                backward=backward,
                js=js,
                before_logit=before,
                after_logit=after,
                is_same=is_same,
            )
            for (forward, backward, js, before, after), is_same in zip(
                self._found, self._same, strict=True
            )
        )


def _terms(
    p: Float[Tensor, "token vocabulary"],
    q: Float[Tensor, "token vocabulary"],
    d: Float[Tensor, "token vocabulary"],
) -> Float[Tensor, "token vocabulary"]:
    """The terms `p (exp(d) - 1 - d)`, where d = ln q - ln p."""
    series = d * d * (0.5 + d * (1 / 6 + d * (1 / 24 + d / 120)))
    # p exp(d) is q, which does not overflow; p = 0 with d at infinity adds q alone.
    far = q - p - torch.where(p > 0, p * d, 0.0)
    return torch.where(d.abs() < _SMALL, p * series, far)


def _to_middle(
    d: Float[Tensor, "token vocabulary"],
) -> Float[Tensor, "token vocabulary"]:
    """From ln p to ln m: ln((1 + exp(d)) / 2), exact at 0 and far from it."""
    nearer = torch.log1p(torch.expm1(-d.abs()) / 2)
    return torch.where(d > 0, d + nearer, nearer)
