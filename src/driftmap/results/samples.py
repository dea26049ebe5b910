"""What is one sample, before and after a tokenizer has seen it?"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int32

Role = Literal["system", "user", "assistant", "text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn. Role `text` is running text that no chat template touches."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRow:
    """A pretokenised sample, used as it is.

    Args:
        token_ids: Ids in the model's own vocabulary.
        labels: Per token its own id where its loss counts, -100 elsewhere.
    """

    token_ids: tuple[int, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One row of a data set.

    Args:
        id: Unique within the data set.
        original_id: The sample that this one is a version of; itself by default.
        version: Which version: `original`, `paraphrase`, ...
        messages: The turns. Empty only for a pretokenised row.
        label: What the row is an example of, where the data says so.
        tokens: The pretokenised row, where the data holds one.
        plain_prompt: Everything before the response in the data set's published
            wording, for a tokenizer without a chat template; None where the data
            set has no wording of its own.
    """

    id: str
    original_id: str
    version: str = "original"
    messages: tuple[Message, ...] = ()
    label: str | None = None
    tokens: TokenRow | None = None
    plain_prompt: str | None = None

    @property
    def prompt(self) -> str:
        """Last user turn or running text; empty where there is neither."""
        asked = [m.content for m in self.messages if m.role in ("user", "text")]
        return asked[-1] if asked else ""

    @property
    def response(self) -> str:
        """Last assistant turn; empty for a row that only asks."""
        last = self.messages[-1] if self.messages else None
        return last.content if last and last.role == "assistant" else ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EncodedSample:
    """A sample as one model's token ids.

    Args:
        sample_id: The sample's id.
        token_ids: The whole text: prompt, response and what the template adds.
        counted: True on tokens whose cross-entropy counts as a loss term.
        prompt_length: Tokens before the first one of the response.
    """

    sample_id: str
    token_ids: Int32[np.ndarray, " token"]
    counted: Bool[np.ndarray, " token"]
    prompt_length: int
