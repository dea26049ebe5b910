"""What does one part of a comparison say in a sentence, and how sure is it?"""

from dataclasses import dataclass
from typing import Literal

Topic = Literal[
    "structure", "weights", "behaviour", "edits", "where", "traces", "attention",
    "readings", "training",
]  # fmt: skip
"""A part of a comparison; each is one section of its page."""

Standing = Literal["found", "not-found", "inconclusive", "context"]
"""Whether a test found a difference, found that there is none of the size that counts,
could not tell, or the sentence only describes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One sentence of a verdict.

    Args:
        topic: The part of the comparison that it rests on.
        says: The sentence, with its number, n and interval in it.
        standing: How sure it is.
        layers: Blocks that the sentence names as those that count, from 0; empty where
            it names none.
    """

    topic: Topic
    says: str
    standing: Standing
    layers: tuple[int, ...] = ()
