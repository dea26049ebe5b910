"""How does a person have every sample said in other words?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.recipes.dataset_options import (
    AskedServer,
    Rewording,
    RewordingOptions,
)
from driftmap.recipes.options import DATA, RUN, renamed, require_at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class DataParaphrase:
    """Have a server say samples in other words, each text paid for once.

    User and assistant text go in separate requests. Every reply is kept as it comes,
    so a command that was killed goes on where it was. A set that is there already with
    the same settings is reused. What looks odd is flagged and kept: nothing like the
    original, lost numbers or code, a request that was carried out.
    """

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

    seed: Annotated[int, RUN] = 42
    """Seed that draws samples, and replies where the server heeds it (integer)."""

    out: Annotated[Path, RUN] = Path("data")
    """Folder for `originals.jsonl` and `paraphrased.jsonl` (path)."""

    def __post_init__(self) -> None:
        """Refuse columns that are no pairs, and draws of nothing."""
        renamed(self.columns)
        if self.num_samples is not None:
            require_at_least("--num-samples", self.num_samples, 1)

    def run(self) -> Path:
        """Ask for the paraphrases that are not there yet.

        Returns:
            The samples file of the paraphrases.
        """
        from driftmap.recipes.steps.dataset import paraphrasing

        plan = paraphrasing.Paraphrasing(
            data=self.data,
            columns=renamed(self.columns),
            num_samples=self.num_samples,
            options=self.rewording,
            server=self.server,
            seed=self.seed,
        )
        return paraphrasing.make_paraphrases(plan, self.out)
