"""What do a model and what was made of it look at, and what became of that?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.attention_change_options import (
    FREE,
    AttentionChangeOptions,
    BothPromptOptions,
    BothPrompts,
    Change,
)
from driftmap.recipes.options import MODEL, RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionTuned:
    """See what a model and what was made of it look at, token by token.

    Both read the same tokens through the same code. The change of weight on the subject
    and on given words is told by layer and head, less what moves on as many tokens
    elsewhere and on prompts about other subjects. Attention is context, not evidence:
    where it disagrees with the logits, the page says so.
    """

    source: Annotated[ModelSource, MODEL]

    tuned: str
    """What was made of `--model`: an adapter, a whole model, or a training folder,
    whose last checkpoint is read (folder or hub id)."""

    prompts: BothPrompts = field(default_factory=BothPromptOptions)

    change: Change = field(default_factory=AttentionChangeOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws facts and resamples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/attention-tuned")
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse to read nothing.

        Raises:
            UsageError: Neither facts nor a text are given.
        """
        if self.prompts.facts is None and not self.prompts.text:
            raise UsageError("give --facts, a file, or --text, one or more texts")

    def run(self) -> Path:
        """Read what is not read yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand

        beforehand.require_folder(asdict(self), "attention-tuned", FREE)
        with phase("load both models"):
            from driftmap.load.model import load_model
            from driftmap.load.tuned import find_tuned
            from driftmap.recipes.steps.comparing.attention import carrying

            run = find_tuned([self.tuned])
            asked = carrying.read_asked(self.prompts, self.seed)
            loaded = load_model(self.source)
        return carrying.carry_out(loaded, run, asked, self.change, asdict(self))
