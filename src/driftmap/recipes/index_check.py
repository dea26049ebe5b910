"""Is an index what was written?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.recipes.index_options import IndexModel
from driftmap.recipes.options import MODEL, RUN, require_at_least


@dataclass(frozen=True, slots=True)
class IndexCheck:
    """Read every file of an index again, and make the rows of four samples again.

    A file that is not what was written is named. Where the model is not at hand, no
    sample is made again, and that is said.
    """

    index: Annotated[Path, Parameter(name="INDEX", negative=())]
    """Folder of the index."""

    model: Annotated[IndexModel, MODEL] = field(
        default_factory=IndexModel, kw_only=True
    )

    recompute: Annotated[bool, RUN] = field(default=True, kw_only=True)
    """Make rows of samples again with the model (yes or no)."""

    batch_tokens: Annotated[int, RUN] = field(default=4096, kw_only=True)
    """Tokens of one pass, padding included; changes speed and memory (count)."""

    def __post_init__(self) -> None:
        """Refuse a count that means nothing."""
        require_at_least("--batch-tokens", self.batch_tokens, 1)

    def run(self) -> str:
        """Check the index.

        Returns:
            What was checked.
        """
        from driftmap.store.index.folder import Index

        index = Index(self.index)

        from driftmap.recipes.steps.index import checking

        num_bytes = checking.check_files(index)
        again = 0
        if self.recompute:
            again = checking.check_rows(index, self.model, self.batch_tokens)
        return checking.summary(index, num_bytes, again)
