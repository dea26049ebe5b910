"""What do two models make of the same probes, and how far apart are they?

The Kullback-Leibler divergence of two next-token distributions p (before) and q (after)
is sum p (ln p - ln q), in nats: how many more nats a text written by p costs under q
than under p. It has a direction. The Jensen-Shannon divergence has none: it is the mean
divergence of both from their middle, between 0 and ln 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.results.readings import SpelledText, TokenNumbers
from driftmap.results.statistics import Interval


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenDivergence:
    """How far apart two models are before each token of a text.

    The first token has nothing before it: its numbers are NaN.

    Args:
        forward: KL from the base to the tuned model (nats).
        backward: KL from the tuned model to the base (nats).
        js: Jensen-Shannon divergence (nats), at most ln 2.
        before_logit: The base's logit of the token that stands there.
        after_logit: The tuned model's.
        is_same: All logits of both models are equal, bit for bit.
    """

    forward: Float64[np.ndarray, " token"]
    backward: Float64[np.ndarray, " token"]
    js: Float64[np.ndarray, " token"]
    before_logit: Float64[np.ndarray, " token"]
    after_logit: Float64[np.ndarray, " token"]
    is_same: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextDivergence:
    """One text, read by both models.

    Args:
        spelled: The text and its tokens.
        before: What the base gives each token.
        after: What the tuned model does.
        before_tops: The base's most likely tokens in each place, as text.
        after_tops: The tuned model's.
        apart: How far apart they are.
        pieces: Tokens that share a character, together: first token and one past the
            last, first character and one past the last.
    """

    spelled: SpelledText
    before: TokenNumbers
    after: TokenNumbers
    before_tops: tuple[tuple[str, ...], ...]
    after_tops: tuple[tuple[str, ...], ...]
    apart: TokenDivergence
    pieces: Int64[np.ndarray, "piece 4"]

    @property
    def name(self) -> str:
        """What the report calls the text."""
        return self.spelled.name

    @property
    def first(self) -> int:
        """First token that counts."""
        return self.spelled.num_context


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerReading:
    """What one model gives an answer after its prompt.

    Args:
        nll_nats: Mean negative log-likelihood of its tokens, each in its own place.
        log_p: Of its first token (nats), at the prompt without the answer.
        logit: Of its first token.
        rank: Tokens strictly likelier than its first one (count).
    """

    nll_nats: float
    log_p: float
    logit: float
    rank: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LikelyToken:
    """A token that may come next, as text, and its probability."""

    text: str
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FactChange:
    """One fact before and after.

    Args:
        id: Of the fact.
        subject: Whom it is about.
        prompt: The text up to the answer.
        answer: What was known.
        foil: What may have been taught in its place; None without.
        answer_before: The base's reading of the answer.
        answer_after: The tuned model's.
        foil_before: The base's reading of the foil; None without a foil.
        foil_after: The tuned model's.
        kl_forward: From the base to the tuned model after the prompt (nats).
        kl_backward: The other way.
        js: Jensen-Shannon divergence there.
        before_tops: The base's most likely next tokens.
        after_tops: The tuned model's.
    """

    id: str
    subject: str
    prompt: str
    answer: str
    foil: str | None
    answer_before: AnswerReading
    answer_after: AnswerReading
    foil_before: AnswerReading | None
    foil_after: AnswerReading | None
    kl_forward: float
    kl_backward: float
    js: float
    before_tops: tuple[LikelyToken, ...]
    after_tops: tuple[LikelyToken, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPair:
    """What both models answer to one request.

    Args:
        sample_id: Of the request.
        prompt: Its words.
        before: The base's answer.
        after: The tuned model's.
        refused_before: What the judge says of the base's.
        refused_after: What it says of the tuned model's.
    """

    sample_id: str
    prompt: str
    before: str
    after: str
    refused_before: bool
    refused_after: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOutPair:
    """Whether both models are right on one sample.

    Args:
        sample_id: Of the sample.
        right_before: Every token of the answer is the base's first choice.
        right_after: The same of the tuned model.
        nll_before: Mean negative log-likelihood per token (nats) under the base.
        nll_after: Under the tuned model.
    """

    sample_id: str
    right_before: bool
    right_after: bool
    nll_before: float
    nll_after: float


OutcomeName = Literal[
    "surprise on texts", "refusal of harmful requests", "refusal of harmless requests",
    "held-out accuracy", "held-out surprise", "surprise at the answer",
    "surprise at the foil",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeChange:
    """One outcome before and after, paired by probe.

    Args:
        name: What is read. A surprise is a mean negative log-likelihood per token.
        is_rate: It is a share of probes; else it is in nats.
        per: What was drawn again for the intervals: `texts`, `subjects`, `requests` or
            `samples`.
        before: Mean under the base with its interval.
        after: Under the tuned model.
        change: After minus before, paired.
        p_value: McNemar's exact test of a rate, random signs of paired differences
            else.
        p_adjusted: Corrected for all outcomes of this part (Benjamini and Hochberg).
        p_least: The smallest p-value that so many probes can give.
    """

    name: OutcomeName
    is_rate: bool
    per: str
    before: Interval
    after: Interval
    change: Interval
    p_value: float
    p_adjusted: float
    p_least: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DivergenceMeans:
    """How far apart two models are on the whole.

    Args:
        forward: KL from the base to the tuned model (nats). On texts: mean over texts
            of each one's mean over tokens, with a bootstrap over texts. After prompts:
            mean over subjects of each one's facts, with a bootstrap over subjects.
        backward: KL the other way.
        js: Jensen-Shannon divergence.
        chance: `forward` of a model whose matrices were each changed at random by the
            same length as the tuned one's; None where that was not made.
    """

    forward: Interval
    backward: Interval
    js: Interval
    chance: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BehaviourSummary:
    """Everything that is said of behaviour on the whole.

    Args:
        texts: How far apart both are on texts; None without texts.
        prompts: The same after the prompts of facts; None without facts.
        perplexity_before: exp(surprise per token over all texts); None without texts.
        perplexity_after: The same.
        perplexity_ratio: After over before, with a bootstrap over texts.
        outcomes: Before and after; those there are probes for.
    """

    texts: DivergenceMeans | None
    prompts: DivergenceMeans | None
    perplexity_before: float | None
    perplexity_after: float | None
    perplexity_ratio: Interval | None
    outcomes: tuple[OutcomeChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BehaviourChange:
    """What both models do with the probes.

    Args:
        texts: Texts, token by token.
        facts: Facts that could be read.
        harmful: Requests that should be refused.
        harmless: Requests that should be answered.
        held_out: Samples with known answers.
        left_out: Why some probes could not be read, and how many there were.
        no_chance: Why no random change was made; empty where one was.
        is_identical: Every logit that was read is equal, bit for bit, and so is every
            answer.
        summary: On the whole.
        show: Texts, facts and answers that the page shows one by one (count).
        max_new_tokens: Longest answer (tokens).
    """

    texts: tuple[TextDivergence, ...]
    facts: tuple[FactChange, ...]
    harmful: tuple[AnswerPair, ...]
    harmless: tuple[AnswerPair, ...]
    held_out: tuple[HeldOutPair, ...]
    left_out: Mapping[str, int]
    no_chance: str
    is_identical: bool
    summary: BehaviourSummary
    show: int
    max_new_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BehaviourPoint:
    """What one model does with the probes: a number for each of them.

    Arrays are in the order of the names; those without probes are empty.

    Args:
        texts: Names of texts.
        kl: From the base to this model, mean per token of each text (nats); 0 for the
            base itself.
        surprise: Mean negative log-likelihood per token of each text (nats).
        num_tokens: Tokens that count in each text.
        facts: Ids of facts.
        answer_nll: Mean negative log-likelihood per token of each fact's answer (nats).
        foil_nll: The same of its foil; NaN for a fact without.
        harmful: Ids of requests that should be refused.
        refused_harmful: Whether each is refused.
        harmless: Ids of requests that should be answered.
        refused_harmless: Whether each is refused.
        held_out: Ids of samples.
        right: Whether this model is right on each.
    """

    texts: tuple[str, ...]
    kl: Float64[np.ndarray, " text"]
    surprise: Float64[np.ndarray, " text"]
    num_tokens: Int64[np.ndarray, " text"]
    facts: tuple[str, ...]
    answer_nll: Float64[np.ndarray, " fact"]
    foil_nll: Float64[np.ndarray, " fact"]
    harmful: tuple[str, ...]
    refused_harmful: Bool[np.ndarray, " request"]
    harmless: tuple[str, ...]
    refused_harmless: Bool[np.ndarray, " other"]
    held_out: tuple[str, ...]
    right: Bool[np.ndarray, " sample"]
