"""What is one padded batch of samples, ready for a model?"""

from dataclasses import dataclass

from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Token ids of several samples, padded to one length on one side.

    Args:
        sample_ids: One id per row.
        sample_index: Number of each row's sample in the whole data set, so that
            halves and shards do not depend on the order of batches.
        token_ids: Token ids; padding holds any valid id.
        real: True on tokens of the sample, False on padding.
        counted: True on tokens whose own cross-entropy is a loss term (the loss
            term of token t is read from the logits at t - 1).
    """

    sample_ids: tuple[str, ...]
    sample_index: tuple[int, ...]
    token_ids: Int[Tensor, "sample token"]
    real: Bool[Tensor, "sample token"]
    counted: Bool[Tensor, "sample token"]
