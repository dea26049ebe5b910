"""Was each token of a text expected, and was the model sure?

Surprise is -ln p of the token that stands there, entropy the mean surprise that the
same distribution expects. They answer two questions: a model can be sure and wrong.
The logits at one position predict the token after it, so the first token of a text
has no reading: its numbers are NaN, its rank is -1, and no sum counts it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenNumbers:
    """What one pass gave for every token of a text.

    Args:
        surprise: -ln p of the token, in nats.
        entropy: Of the distribution the token was drawn from, in nats.
        rank: Tokens that were strictly more likely (count); 0 for the first choice.
        top_ids: The most likely tokens in its place, most likely first.
        top_p: Their probabilities.
        vocabulary: Tokens the model chooses between (count): no entropy is above its
            logarithm.
    """

    surprise: Float64[np.ndarray, " token"]
    entropy: Float64[np.ndarray, " token"]
    rank: Int64[np.ndarray, " token"]
    top_ids: Int64[np.ndarray, "token choice"]
    top_p: Float64[np.ndarray, "token choice"]
    vocabulary: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpelledText:
    """A text as tokens, and which characters each of them stands for.

    Args:
        name: What the report calls it.
        text: All of it.
        token_ids: Its tokens, with those that the tokenizer adds to any text.
        spans: First character of each token and one past its last; equal where a token
            stands for none. Pieces of one character share its span.
        num_context: Tokens at the start that are shown and not counted: a token that
            begins any text, or the prompt of an answer. At least 1.
        has_begin: The first token is one that the tokenizer puts before any text, so
            the first word has a reading too.
    """

    name: str
    text: str
    token_ids: Int64[np.ndarray, " token"]
    spans: Int64[np.ndarray, "token 2"]
    num_context: int
    has_begin: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenReadings:
    """A text, and what a model gave for each of its tokens.

    Args:
        spelled: The text.
        numbers: Per token of it.
        tops: The most likely tokens in each place, as text, most likely first.
        window: Most tokens that were read at once (count).
        stride: Tokens before the first counted one of every later window (count).
        is_generated: The tokens after the context were written by the model.
    """

    spelled: SpelledText
    numbers: TokenNumbers
    tops: tuple[tuple[str, ...], ...]
    window: int
    stride: int
    is_generated: bool

    @property
    def name(self) -> str:
        """What the report calls the text."""
        return self.spelled.name

    @property
    def num_tokens(self) -> int:
        """Tokens of the text, with the context."""
        return self.spelled.token_ids.size

    @property
    def num_scored(self) -> int:
        """Tokens that count."""
        return self.num_tokens - self.spelled.num_context

    @property
    def num_windows(self) -> int:
        """Windows that the text was read in."""
        if self.num_tokens <= self.window:
            return 1
        return 1 + -(-(self.num_tokens - self.window) // (self.window - self.stride))

    @property
    def scored_surprise(self) -> Float64[np.ndarray, " token"]:
        """Surprise of the tokens that count, in nats."""
        return self.numbers.surprise[self.spelled.num_context :]

    @property
    def scored_entropy(self) -> Float64[np.ndarray, " token"]:
        """Entropy at the tokens that count, in nats."""
        return self.numbers.entropy[self.spelled.num_context :]


@dataclass(frozen=True, slots=True, kw_only=True)
class StretchReading:
    """A stretch of a text: a character, a word or a sentence.

    Args:
        start: First character.
        stop: One past the last.
        first: First token of it.
        past: One past its last token.
        surprise: Sum over its tokens, in nats: -ln p of the whole stretch; None where
            one of them has no reading.
        mean_entropy: Over its tokens, in nats; None likewise.
        max_entropy: The largest of them, in nats; None likewise.
        rank: The largest rank of its tokens; None likewise.
        is_context: One of its tokens belongs to what is not counted.
    """

    start: int
    stop: int
    first: int
    past: int
    surprise: float | None
    mean_entropy: float | None
    max_entropy: float | None
    rank: int | None
    is_context: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSummary:
    """How well a text is foreseen on the whole.

    Args:
        num_tokens: Tokens of the text (count).
        num_scored: Tokens that count (count).
        num_bytes: Bytes of UTF-8 that they stand for (count).
        mean_surprise: In nats a token.
        mean_entropy: In nats a token.
        perplexity: exp(sum of surprise / tokens that count).
        published_perplexity: exp(sum of surprise / all tokens), the first one too, as
            the code of ROME divides; to compare with numbers from there.
        bits_per_byte: Sum of surprise in bits a byte; None where no byte counts. It
            compares models of different tokenizers.
        share_first: Share of counted tokens that were the first choice.
    """

    num_tokens: int
    num_scored: int
    num_bytes: int
    mean_surprise: float
    mean_entropy: float
    perplexity: float
    published_perplexity: float
    bits_per_byte: float | None
    share_first: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LensReadings:
    """What each block's output would say if the model ended there (the logit lens).

    A description of states, not an effect: nothing was changed.

    Args:
        positions: Tokens whose states are read; each predicts the token after it.
        answer_ids: Per position, the token whose probability is read.
        foil_ids: Per position, what it is compared with; None without.
        answer_p: Probability of the answer.
        answer_rank: Tokens strictly more likely than the answer (count).
        foil_p: Probability of the foil; None without.
        foil_rank: Tokens strictly more likely than the foil (count); None without.
        entropy: Of the distribution, in nats.
        kl: From the last block's distribution to this one, in nats:
            sum p_last (ln p_last - ln p); 0 at the last block.
        top_ids: The most likely token.
    """

    positions: Int64[np.ndarray, " token"]
    answer_ids: Int64[np.ndarray, " token"]
    foil_ids: Int64[np.ndarray, " token"] | None
    answer_p: Float64[np.ndarray, "layer token"]
    answer_rank: Int64[np.ndarray, "layer token"]
    foil_p: Float64[np.ndarray, "layer token"] | None
    foil_rank: Int64[np.ndarray, "layer token"] | None
    entropy: Float64[np.ndarray, "layer token"]
    kl: Float64[np.ndarray, "layer token"]
    top_ids: Int64[np.ndarray, "layer token"]
