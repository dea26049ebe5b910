"""What do logits say of the tokens that stand there, piece by piece?"""

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from driftmap.core.errors import MeasureError
from driftmap.results.readings import TokenNumbers

NUMBERS_AT_A_TIME = 2**24
"""Logits that are made float32 together: 64 MiB."""


class GatheredTokens:
    """The numbers of one text, filled in as its windows are read."""

    def __init__(
        self, ids: Int64[np.ndarray, " token"], num_top: int, number: int
    ) -> None:
        if not ids.size:
            raise MeasureError(f"text {number}: it has no token to read")
        self.number = number
        self.num_top = num_top
        self.vocabulary = 0
        self.surprise = np.full(ids.size, np.nan)
        self.entropy = np.full(ids.size, np.nan)
        self.rank = np.full(ids.size, -1, np.int64)
        self.tops = np.full((ids.size, num_top), -1, np.int64)
        self.top_p = np.full((ids.size, num_top), np.nan)

    def add(
        self,
        logits: Float[Tensor, "token vocabulary"],
        targets: Int64[np.ndarray, " token"],
        *,
        first: int,
    ) -> None:
        """Take the logits that predict `targets`, which stand from `first` on."""
        self.vocabulary = logits.shape[-1]
        at_a_time = max(1, NUMBERS_AT_A_TIME // max(1, logits.shape[-1]))
        wanted = torch.from_numpy(targets.astype(np.int64)).to(logits.device)
        for start in range(0, len(targets), at_a_time):
            here = slice(start, start + at_a_time)
            size = len(targets[here])
            place = slice(first + start, first + start + size)
            self._fill(place, logits[here], wanted[here])

    def grow(self, logits: Float[Tensor, "1 vocabulary"], token: int) -> None:
        """Add a token at the end."""
        size = self.surprise.size
        self.surprise = np.append(self.surprise, np.nan)
        self.entropy = np.append(self.entropy, np.nan)
        self.rank = np.append(self.rank, -1)
        self.tops = np.vstack([self.tops, np.full((1, self.num_top), -1)])
        self.top_p = np.vstack([self.top_p, np.full((1, self.num_top), np.nan)])
        self.add(logits, np.array([token], np.int64), first=size)

    def numbers(self) -> TokenNumbers:
        """All of them."""
        return TokenNumbers(
            surprise=self.surprise,
            entropy=self.entropy,
            rank=self.rank,
            top_ids=self.tops,
            top_p=self.top_p,
            vocabulary=self.vocabulary,
        )

    def _fill(
        self,
        place: slice,
        logits: Float[Tensor, "token vocabulary"],
        targets: Int64[Tensor, " token"],
    ) -> None:
        z = logits.to(torch.promote_types(logits.dtype, torch.float32))
        own = z.gather(1, targets[:, None])
        total = z.logsumexp(1)
        if not bool((total.isfinite() & own[:, 0].isfinite()).all()):
            raise MeasureError(
                f"text {self.number}: a logit is NaN or infinite; are the model's "
                "weights finite?"
            )
        top = z.topk(min(self.num_top, z.shape[1]), 1)
        self.surprise[place] = (total - own[:, 0]).cpu().double().numpy()
        self.rank[place] = (z > own).sum(1).cpu().numpy()
        kept = top.indices.shape[1]
        self.tops[place, :kept] = top.indices.cpu().numpy()
        self.top_p[place, :kept] = (top.values - total[:, None]).exp().cpu().numpy()
        p = (z - total[:, None]).exp_()
        self.entropy[place] = torch.special.entr(p).sum(1).cpu().double().numpy()
