"""How are the gradients of many samples kept so short that they can be searched?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import Engine, EngineOptions
from driftmap.recipes.index_options import (
    RowOptions,
    Rows,
    TokenOptions,
    Tokens,
)
from driftmap.recipes.options import DATA, MODEL, RUN, renamed, require_at_least


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexBuild:
    """Build an index: a short form of each sample's gradient, per tensor, on disk.

    `driftmap index search` then finds the samples that move the model most like a query
    does. An index grows shard by shard; a command that was interrupted goes on when it
    is repeated, and the bytes are those of one that was not.
    """

    source: Annotated[ModelSource, MODEL]

    data: Annotated[str, DATA]
    """Samples to index: requests with answers (file, known name, hub name or
    FILE.py:FUNCTION)."""

    columns: Annotated[str | None, DATA] = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    num_samples: Annotated[int | None, DATA] = None
    """Samples drawn from the data (count); by default all."""

    rows: Rows = field(default_factory=RowOptions)

    tokens: Tokens = field(default_factory=TokenOptions)

    engine: Engine = field(default_factory=EngineOptions)

    batch_tokens: Annotated[int, RUN] = 4096
    """Tokens of one pass, padding included; changes speed and memory (count)."""

    seed: Annotated[int, RUN] = 0
    """Seed of the projection, and of drawing samples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/index")
    """Folder of the index; one with the same settings is continued (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: Columns are no pairs, or a count means nothing.
        """
        renamed(self.columns)
        require_at_least("--batch-tokens", self.batch_tokens, 1)

    def run(self) -> str:
        """Make every shard that is not there yet.

        Returns:
            What the index holds; with `--print-slurm` the script.
        """
        from driftmap.recipes.steps import submitting
        from driftmap.recipes.steps.index.source import Source

        if self.engine.print_slurm:
            return submitting.slurm_script(self, "index build", self.engine)

        source = Source(
            data=self.data,
            columns=renamed(self.columns),
            num_samples=self.num_samples,
            seed=self.seed,
            tokens=self.tokens,
        )
        found = source.read()
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps import sharing_out
            from driftmap.recipes.steps.index import beginning, building, reading

            where = sharing_out.engine_settings(self.engine, self.source)
            loaded = load_model(sharing_out.source_here(self.source, self.engine))
        fed = reading.encode(loaded, found, self.tokens)
        planned = building.plan(
            (loaded, fed), (self.source, source), self.rows, self.engine.part
        )
        with beginning.begun(self.out, planned) as header:
            work = building.IndexWork(
                model=self.source,
                source=source,
                header=header,
                part=0,
                batch_tokens=self.batch_tokens,
            )
            return building.fill(self.out, (loaded, fed), work, where)
