"""Which options does the question of what two models look at have?"""

from dataclasses import dataclass
from typing import Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section

CHANGE = section("What is read of both", 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionChangeOptions:
    """What is read of two models beside the subject, and of how many prompts."""

    words: tuple[str, ...] = ()
    """Other words whose share of attention is read before and after (text); by default
    none beside the subject."""

    wordings: Literal["first", "all"] = "all"
    """Read the `first` wording of each fact, or `all` paraphrases too (name); by
    default `all`, since a short prompt has no room for a control span."""

    num_untouched: int = 2
    """Other subjects per fact, from its neighbours, whose prompts show what shifts
    everywhere (count)."""

    num_texts: int = 1
    """Facts whose sentences with the new and with the old answer are shown token by
    token, where no text is given (count)."""

    def __post_init__(self) -> None:
        """Refuse counts and words that mean nothing."""
        for name, count in (
            ("--num-untouched", self.num_untouched),
            ("--num-texts", self.num_texts),
        ):
            require_at_least(name, count, 0)
        if any(not word.strip() for word in self.words):
            raise UsageError("--words holds an empty one; give words of the texts")


Change = Annotated[AttentionChangeOptions, CHANGE]
