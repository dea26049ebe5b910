"""Which options say how other versions of samples are made?"""

from dataclasses import dataclass
from typing import Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section


@dataclass(frozen=True, slots=True, kw_only=True)
class RewordingOptions:
    """How samples are said in other words."""

    num_versions: int = 1
    """Paraphrases of each sample (count)."""

    temperature: float = 1.0
    """Temperature that the server draws at; 0 takes the likeliest (ratio)."""

    longest_reply: int = 4096
    """Longest paraphrase of one text; one that reaches it is rejected (tokens)."""

    price_in: float | None = None
    """Price of a million tokens that the server reads, to show what a run costs
    (amount, in your currency); by default only tokens are shown."""

    price_out: float | None = None
    """Price of a million tokens that the server writes (amount, in your currency); by
    default only tokens are shown."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_at_least("--num-versions", self.num_versions, 1)
        require_at_least("--temperature", self.temperature, 0)
        require_at_least("--longest-reply", self.longest_reply, 1)
        if self.num_versions > 1 and self.temperature == 0:
            raise UsageError(
                f"--num-versions {self.num_versions} at --temperature 0 are one "
                "paraphrase repeated; give a temperature above 0"
            )
        if (self.price_in is None) != (self.price_out is None):
            raise UsageError(
                "--price-in and --price-out go together; give both, or none"
            )

    def cost(self, tokens_in: float, tokens_out: float) -> float | None:
        """What tokens cost; None where no price is known.

        >>> RewordingOptions(price_in=1, price_out=4).cost(1_000_000, 500_000)
        3.0
        """
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedServerOptions:
    """A server that speaks OpenAI's protocol, to paraphrase."""

    endpoint_model: str
    """The server's name for its model (name)."""

    endpoint: str | None = None
    """Address of the server, as http://127.0.0.1:8000/v1; by default OPENAI_BASE_URL.
    Its key is taken from OPENAI_API_KEY and never written down (URL)."""

    endpoint_timeout: float = 120.0
    """How long one reply may take (seconds)."""

    endpoint_parallel: int = 4
    """Requests that are under way at a time (count)."""

    requests_per_minute: float | None = None
    """Most requests that are begun in a minute (count); by default as many as are
    answered."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_at_least("--endpoint-timeout", self.endpoint_timeout, 0.1)
        require_at_least("--endpoint-parallel", self.endpoint_parallel, 1)
        if self.requests_per_minute is not None:
            require_at_least("--requests-per-minute", self.requests_per_minute, 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweringOptions:
    """What the studied model answers."""

    prompts: Literal["paraphrased", "original"] = "paraphrased"
    """Prompts that are answered: those of the paraphrases, or the originals' (name)."""

    template: Literal["tulu"] | None = None
    """Chat template to put prompts into, in place of the tokenizer's own (name); by
    default its own."""

    max_new_tokens: int = 512
    """Longest answer; an answer that reaches it, or the end of the context, is marked
    as not complete (tokens)."""

    eval_batch_size: int = 16
    """Prompts answered at a time (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--max-new-tokens", self.max_new_tokens, 1)
        require_at_least("--eval-batch-size", self.eval_batch_size, 1)


Rewording = Annotated[RewordingOptions, section("Paraphrases", 3)]
AskedServer = Annotated[AskedServerOptions, section("Server", 4)]
Answering = Annotated[AnsweringOptions, section("Model answers", 5)]
