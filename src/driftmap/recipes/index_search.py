"""Which samples move a model most like a query does?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.recipes.index_options import (
    IndexModel,
    Search,
    SearchOptions,
    TooLong,
)
from driftmap.recipes.options import DATA, MODEL, RUN, renamed, require_at_least


@dataclass(frozen=True, slots=True)
class IndexSearch:
    """Find the samples of an index whose gradients are most like those of queries.

    The index gives the best by estimate; their cosines are then measured exactly, until
    no other sample may belong among those shown.
    """

    index: Annotated[Path, Parameter(name="INDEX", negative=())]
    """Folder of the index."""

    model: Annotated[IndexModel, MODEL] = field(
        default_factory=IndexModel, kw_only=True
    )

    queries: Annotated[str, DATA] = field(kw_only=True)
    """Samples to look for: requests with answers (file, known name, hub name or
    FILE.py:FUNCTION)."""

    columns: Annotated[str | None, DATA] = field(default=None, kw_only=True)
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    too_long: Annotated[TooLong, DATA] = field(default="error", kw_only=True)
    """What becomes of samples longer than the model reads at once: an error that lists
    them, left out, or kept whole (name)."""

    search: Search = field(default_factory=SearchOptions, kw_only=True)

    batch_tokens: Annotated[int, RUN] = field(default=4096, kw_only=True)
    """Tokens of one pass, padding included; changes speed and memory (count)."""

    out: Annotated[Path | None, RUN] = field(default=None, kw_only=True)
    """Folder for `answers.jsonl`, `answers.parquet` and `search.json` (path); by
    default the answer is only shown."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: Columns are no pairs, or a count means nothing.
        """
        renamed(self.columns)
        require_at_least("--batch-tokens", self.batch_tokens, 1)

    def run(self) -> str:
        """Search.

        Returns:
            A table of the best samples of each query, and how exact it is.
        """
        from driftmap.recipes.steps.index.source import Source, tokens_of
        from driftmap.store.index.folder import Index

        index = Index(self.index)
        settings = index.header.settings
        source = Source(
            data=self.queries,
            columns=renamed(self.columns),
            num_samples=None,
            seed=0,
            tokens=tokens_of(settings, self.too_long),
        )
        found = source.read()

        from driftmap.recipes.steps.index.model import model_of, require_same_rule
        from driftmap.recipes.steps.index.reading import encode

        loaded = model_of(settings, self.model, self.index)
        fed = encode(loaded, found, source.tokens)
        require_same_rule(settings, fed, self.index)

        from driftmap.recipes.steps.index import answering, searching

        answer = searching.search(index, loaded, fed, self.search, self.batch_tokens)
        rows = answering.rows_of(answer, loaded.tokenizer)
        if self.out is not None:
            told = {
                "index": str(self.index),
                "model_sha256": settings.model_sha256,
                "queries_sha256": fed.sha256,
                "search": asdict(self.search),
            }
            answering.save(self.out, answer, rows, told)
        return answering.as_text(answer, rows)
