"""How does a person have both versions of every sample made by one command?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.load.source import ModelSource
from driftmap.recipes.dataset_options import (
    Answering,
    AnsweringOptions,
    AskedServer,
    Rewording,
    RewordingOptions,
)
from driftmap.recipes.options import DATA, MODEL, RUN, renamed, require_at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class DataBoth:
    """Paraphrase samples, then let the studied model answer the paraphrased prompts.

    `driftmap data paraphrase` and `driftmap data generate`, one after the other.
    """

    source: Annotated[ModelSource, MODEL]

    data: Annotated[str, DATA]
    """Samples to paraphrase (file, known name such as lima, hub name or
    FILE.py:FUNCTION)."""

    columns: Annotated[str | None, DATA] = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    num_samples: Annotated[int | None, DATA] = None
    """Samples to draw (count); by default all of them."""

    rewording: Rewording = field(default_factory=RewordingOptions)

    server: AskedServer

    answering: Answering = field(default_factory=AnsweringOptions)

    seed: Annotated[int, RUN] = 42
    """Seed that draws samples, and replies where the server heeds it (integer)."""

    out: Annotated[Path, RUN] = Path("data")
    """Folder for `originals.jsonl`, `paraphrased.jsonl` and `generated.jsonl`
    (path)."""

    def __post_init__(self) -> None:
        """Refuse columns that are no pairs, and draws of nothing."""
        renamed(self.columns)
        if self.num_samples is not None:
            require_at_least("--num-samples", self.num_samples, 1)

    def run(self) -> Path:
        """Make what is not there yet.

        Returns:
            The folder with all three files.
        """
        from driftmap.recipes.steps.dataset import answering, paraphrasing

        plan = paraphrasing.Paraphrasing(
            data=self.data,
            columns=renamed(self.columns),
            num_samples=self.num_samples,
            options=self.rewording,
            server=self.server,
            seed=self.seed,
        )
        paraphrasing.make_paraphrases(plan, self.out)
        answers = answering.AnswerPlan(source=self.source, options=self.answering)
        answering.make_answers(answers, self.out)
        return self.out
