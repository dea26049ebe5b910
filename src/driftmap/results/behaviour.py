"""What did a model do on prompts and on held-out samples?

One reading per prompt or sample, so that two models, or two steps of one run, are
compared pair by pair.
"""

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
            that greedy decoding begins with the response.
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
