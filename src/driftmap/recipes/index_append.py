"""How do more samples come into an index?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.core.errors import UsageError
from driftmap.recipes.engine_options import Engine, EngineOptions
from driftmap.recipes.index_options import IndexModel, TooLong
from driftmap.recipes.options import DATA, MODEL, RUN, renamed, require_at_least


@dataclass(frozen=True, slots=True)
class IndexAppend:
    """Add samples with new ids to an index, made as those that are there.

    Model, projection and template are those of the index. An interrupted command goes
    on when it is repeated.
    """

    index: Annotated[Path, Parameter(name="INDEX", negative=())]
    """Folder of the index."""

    model: Annotated[IndexModel, MODEL] = field(
        default_factory=IndexModel, kw_only=True
    )

    data: Annotated[str, DATA] = field(kw_only=True)
    """Samples to add: requests with answers (file, known name, hub name or
    FILE.py:FUNCTION)."""

    columns: Annotated[str | None, DATA] = field(default=None, kw_only=True)
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    too_long: Annotated[TooLong, DATA] = field(default="error", kw_only=True)
    """What becomes of samples longer than the model reads at once: an error that lists
    them, left out, or kept whole (name)."""

    engine: Engine = field(default_factory=EngineOptions, kw_only=True)

    batch_tokens: Annotated[int, RUN] = field(default=4096, kw_only=True)
    """Tokens of one pass, padding included; changes speed and memory (count)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: Columns are no pairs, a count means nothing, or only a part is
                to be added.
        """
        if self.engine.part is not None or self.engine.print_slurm:
            raise UsageError(
                "samples are added to an index all at once: leave out --partition and "
                "--print-slurm, or build an index of all samples in parts"
            )
        renamed(self.columns)
        require_at_least("--batch-tokens", self.batch_tokens, 1)

    def run(self) -> str:
        """Add the samples.

        Returns:
            What the index holds then.
        """
        from driftmap.recipes.steps.index.source import Source, tokens_of
        from driftmap.store.index.header import load_header

        settings = load_header(self.index).settings
        source = Source(
            data=self.data,
            columns=renamed(self.columns),
            num_samples=None,
            seed=settings.sketch.seed,
            tokens=tokens_of(settings, self.too_long),
        )
        found = source.read()

        from driftmap.recipes.steps.index.model import model_of, require_same_rule
        from driftmap.recipes.steps.index.reading import encode

        loaded = model_of(settings, self.model, self.index)
        fed = encode(loaded, found, source.tokens)
        require_same_rule(settings, fed, self.index)

        from driftmap.recipes.steps.index.appending import append
        from driftmap.recipes.steps.sharing_out import engine_settings

        model = self.model.source(settings)
        where = engine_settings(self.engine, model)
        asked = (model, source)
        return append(self.index, (loaded, fed), asked, self.batch_tokens, where)
