"""What does a model look at when it answers, and does that matter?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.attention_options import (
    FREE,
    REDOES,
    EffectOptions,
    Effects,
    PromptOptions,
    Prompts,
    RowOptions,
    Rows,
)
from driftmap.recipes.options import MODEL, RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """See to which tokens each head attends when the model answers, and cut it off.

    Rows of attention are read beside the model's own, whose numbers stay as they are,
    bit for bit, whatever its implementation. Attention is a description; so edges to
    the subject are cut as well, layer by layer, against edges to as many other tokens:
    what the answer loses then is an effect. Early, middle and late layers stand in one
    table, by stated criteria. `driftmap attention --tuned ADAPTER` compares what two
    models look at.
    """

    source: Annotated[ModelSource, MODEL]

    prompts: Prompts = field(default_factory=PromptOptions)

    rows: Rows = field(default_factory=RowOptions)

    effects: Effects = field(default_factory=EffectOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws facts and resamples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/attention")
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse to read nothing.

        Raises:
            UsageError: Neither facts nor a prompt are given.
        """
        if self.prompts.facts is None and self.prompts.prompt is None:
            raise UsageError("give either --facts, a file, or --prompt, one text")

    def run(self) -> Path:
        """Read what is not read yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.tracing import reading

        read = reading.read_all(self.prompts.as_facts, self.seed)
        beforehand.require_folder(asdict(self), "attention", (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.attention import carrying

            loaded = load_model(self.source)
        plan = carrying.AttentionPlan(
            prompts=self.prompts, rows=self.rows, effects=self.effects
        )
        return carrying.carry_out(loaded, read, plan, asdict(self))
