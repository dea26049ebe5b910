"""How well does a model foresee a text, window by window?"""

from dataclasses import dataclass
from math import exp, log

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedText:
    """One long text as tokens.

    Args:
        name: What the report calls it.
        token_ids: All tokens in order, with those that the tokenizer adds to any text.
        byte_ends: Per token, bytes of the text (UTF-8) up to its end.
    """

    name: str
    token_ids: Int64[np.ndarray, " token"]
    byte_ends: Int64[np.ndarray, " token"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PerplexityReading:
    """What a model gives the tokens of one text.

    The first token of a window has nothing before it and is not predicted.

    Args:
        text: Name of the text.
        window: Tokens per window.
        num_dropped: Tokens after the last whole window.
        num_bytes: Bytes that the predicted tokens stand for.
        nll_nats: Per window, mean negative log-likelihood per predicted token.
    """

    text: str
    window: int
    num_dropped: int
    num_bytes: int
    nll_nats: Float64[np.ndarray, " window"]

    @property
    def num_windows(self) -> int:
        """Whole windows in the text."""
        return self.nll_nats.size

    @property
    def num_predicted(self) -> int:
        """Predicted tokens of all windows."""
        return self.num_windows * (self.window - 1)

    @property
    def perplexity(self) -> float:
        """exp(mean NLL per predicted token).

        >>> reading = PerplexityReading(
        ...     text="t", window=3, num_dropped=0, num_bytes=8,
        ...     nll_nats=np.log([2.0, 8.0]),
        ... )
        >>> round(reading.perplexity, 9), round(reading.bits_per_byte, 9)
        (4.0, 1.0)
        """
        return exp(self.nll_nats.mean())

    @property
    def bits_per_byte(self) -> float:
        """Bits that the predicted tokens cost, per byte of text they stand for."""
        total_nats = float(self.nll_nats.sum()) * (self.window - 1)
        return total_nats / log(2) / self.num_bytes
