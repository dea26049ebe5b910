"""Who answers prompts: a model in this process, or one behind an address?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from driftmap.results.behaviour import Answer
from driftmap.results.samples import Sample

Template = Literal["chat", "bare"]
"""With the model's chat template, or the bare text of the turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One prompt as it is put to a model.

    Args:
        sample: Its turns, a system turn included; an answer of its own is left out.
        template: How the turns become text.
        prefill: Words that the answer starts with; they are not part of it.
    """

    sample: Sample
    template: Template = "chat"
    prefill: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How answers are drawn.

    Args:
        max_new_tokens: Longest answer (tokens).
        temperature: 0 always takes the first choice; 1 draws from the model's own
            distribution.
        num_answers: Answers per request (count); 1 where the temperature is 0.
        seed: What draws depend on, beside the request.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    num_answers: int = 1
    seed: int = 0


@runtime_checkable
class Generator(Protocol):
    """Whoever answers requests."""

    @property
    def name(self) -> str:
        """What tables and reports call it."""
        ...

    def answers(
        self, requests: Sequence[Request], decoding: Decoding
    ) -> tuple[tuple[Answer, ...], ...]:
        """Answer requests.

        Args:
            requests: What is asked.
            decoding: How answers are drawn.

        Returns:
            `num_answers` of them per request, requests in order. Token ids are empty
            where the generator does not tell them.

        Raises:
            DataError: There is no request, or one cannot be put to this generator.
        """
        ...
