"""Which options does the question have what two models say of taught facts?"""

from dataclasses import dataclass
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.recipes.options import require_at_least, section

EDIT_MEASURES = section("What is asked of facts", 6)

FREE = ("edit_measures.fact_batch_size",)
"""Settings that change how fast, but not what comes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditMeasureOptions:
    """What two models are asked about facts, before and after tuning."""

    num_unrelated: int = 64
    """Facts of other subjects that were not taught, drawn to see what else changed
    (count); 0 for none."""

    num_written: int = 16
    """Facts, from the first on, whose `generation_prompts` both models go on from
    (count); 0 for none."""

    written_tokens: int = 100
    """Longest text that is written after such a prompt (tokens)."""

    num_lensed: int = 32
    """Facts, from the first on, whose answers are followed through all layers (count);
    0 for none."""

    num_likely: int = 10
    """Most likely next tokens that are compared (count)."""

    about: str | None = None
    """Texts about subjects: rows of `text`, and `subject` or the `answer` that is true
    of whom it is about (file or hub name); by default none, and consistency and essence
    are not available."""

    fact_batch_size: int = 16
    """Prompts per forward pass; changes speed and memory only (count)."""

    def __post_init__(self) -> None:
        """Refuse counts that mean nothing."""
        require_at_least("--num-likely", self.num_likely, 1)
        require_at_least("--written-tokens", self.written_tokens, 1)
        require_at_least("--fact-batch-size", self.fact_batch_size, 1)
        for name in ("num_unrelated", "num_written", "num_lensed"):
            value = getattr(self, name)
            if value < 0:
                option = f"--{name.replace('_', '-')}"
                raise UsageError(f"{option} is {value}; give 0 or more")


EditMeasures = Annotated[EditMeasureOptions, EDIT_MEASURES]
