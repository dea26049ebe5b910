"""How do experts of several checkpoints come into one model?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.core.errors import UsageError
from driftmap.recipes.options import RUN


@dataclass(frozen=True, slots=True)
class SlicesMerge:
    """Write a model with the tuned experts of several checkpoints.

    All must be tuned from the same model, and no expert or router may be in two of
    them: which one is meant would not be known. That each checkpoint does what it
    should does not say that they do so together; evaluate the result.
    """

    parts: Annotated[tuple[Path, ...], Parameter(name="SLICES", negative=())]
    """Folders of rounds, or files of slices, of several runs, in any order."""

    model: Annotated[str, RUN] = field(kw_only=True)
    """The model that all were tuned from, untouched (folder or hub id)."""

    out: Annotated[Path, RUN] = field(kw_only=True)
    """Folder of the new model (path)."""

    def __post_init__(self) -> None:
        """Refuse to merge one thing.

        Raises:
            UsageError: Fewer than two checkpoints are named.
        """
        if len(self.parts) < 2:
            raise UsageError(
                f"{len(self.parts)} checkpoints are named; name two or more, or write "
                "one into its model with `driftmap slices apply`"
            )

    def run(self) -> Path:
        """Write the model.

        Returns:
            Its folder.
        """
        from driftmap.recipes.steps.slices.writing import write_applied

        return write_applied(self.parts, self.model, self.out)
