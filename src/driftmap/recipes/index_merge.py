"""How do parts of an index that were built apart become one?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.recipes.options import RUN


@dataclass(frozen=True, slots=True)
class IndexMerge:
    """Join parts of an index that were built with `--partition`.

    Settings must be equal, ids must differ, and no range of samples may be missing. The
    parts stay; with parts `1/n` to `n/n` the bytes are those of an index that was built
    at once.
    """

    parts: Annotated[tuple[Path, ...], Parameter(name="PART", negative=())]
    """Folders of the parts, in any order."""

    out: Annotated[Path, RUN] = field(kw_only=True)
    """Folder of the whole (path)."""

    def run(self) -> str:
        """Join them.

        Returns:
            What the index holds.
        """
        from driftmap.recipes.steps.index.merging import merge

        return merge(self.parts, self.out)
