"""Which options does the question of what two models look at have?"""

from dataclasses import dataclass
from typing import Annotated, Literal

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section
from driftmap.recipes.trace_options import FactOptions

READ = section("Prompts", 2)
CHANGE = section("What is read of both", 3)

FREE = ("out", "source.device", "source.device_map")
"""Settings that change where or how fast, but not what comes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BothPromptOptions:
    """Which facts and texts both models read."""

    facts: str | None = None
    """Facts that were edited, or may have been, in any shape that `driftmap trace`
    reads; the new answer is the foil (file or hub name); by default none, and `--text`
    is given."""

    columns: str | None = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,answer=object` (pairs); by default they are recognised."""

    num_facts: int | None = None
    """Facts drawn from the file (count); by default all."""

    untouched: str | None = None
    """Facts of other subjects, to set the shifts against (file or hub name); by default
    subjects of the facts' neighbours, in the facts' own wordings."""

    text: tuple[str, ...] = ()
    """Texts that are shown token by token, in both models (text); by default sentences
    of the first fact, with its new answer and with its old one."""

    def __post_init__(self) -> None:
        """Refuse controls without what they control."""
        if self.facts is None and self.untouched is not None:
            raise UsageError("--untouched is set against --facts; give those too")
        if self.facts is not None:
            _ = self.as_facts

    @property
    def as_facts(self) -> FactOptions:
        """The facts as tracing reads them."""
        return FactOptions(
            facts=self.facts, columns=self.columns, num_facts=self.num_facts
        )

    @property
    def as_untouched(self) -> FactOptions:
        """Those of other subjects likewise."""
        return FactOptions(facts=self.untouched, columns=self.columns)


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


BothPrompts = Annotated[BothPromptOptions, READ]
Change = Annotated[AttentionChangeOptions, CHANGE]
