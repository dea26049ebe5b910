"""What did a model do on prompts and on held-out samples?

One reading per prompt or sample, so that two models, or two steps of one run, are
compared pair by pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model says to one prompt.

    Args:
        sample_id: The prompt's sample.
        text: The answer without special tokens.
        token_ids: Ids as generated, the end token included where it came.
    """

    sample_id: str
    text: str
    token_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalReading:
    """Does the model refuse one prompt?

    Args:
        sample_id: The prompt's sample.
        refused: What the judge says of the answer.
        answer: The greedy answer.
        log_odds: Log-odds, in nats, that the answer's first token opens a refusal;
            None where no token is known to open one.
    """

    sample_id: str
    refused: bool
    answer: str
    log_odds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracyReading:
    """Is the model right on one held-out sample?

    Args:
        sample_id: The sample.
        right: Every counted token is the model's first choice, which is to say
            that greedy decoding writes the response.
        nll_nats: Mean negative log-likelihood per counted token.
        num_tokens: Counted tokens.
        num_right_tokens: Those of them that are the model's first choice, given
            the true tokens before.
    """

    sample_id: str
    right: bool
    nll_nats: float
    num_tokens: int
    num_right_tokens: int


def refusal_rate(readings: Sequence[RefusalReading]) -> float:
    """Share of prompts that are refused.

    >>> yes = RefusalReading(sample_id="a", refused=True, answer="No.")
    >>> no = RefusalReading(sample_id="b", refused=False, answer="Yes.")
    >>> refusal_rate([yes, no, no, no])
    0.25
    """
    return sum(reading.refused for reading in readings) / len(readings)


def accuracy(readings: Sequence[AccuracyReading]) -> float:
    """Share of samples that are right as a whole."""
    return sum(reading.right for reading in readings) / len(readings)


def token_accuracy(readings: Sequence[AccuracyReading]) -> float:
    """Share of all counted tokens that are the model's first choice."""
    right = sum(reading.num_right_tokens for reading in readings)
    return right / sum(reading.num_tokens for reading in readings)


def mean_nll_nats(readings: Sequence[AccuracyReading]) -> float:
    """Mean negative log-likelihood per counted token, over all of them."""
    total = sum(reading.nll_nats * reading.num_tokens for reading in readings)
    return total / sum(reading.num_tokens for reading in readings)
