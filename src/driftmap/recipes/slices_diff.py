"""What changed between two checkpoints of tuned experts?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.recipes.options import RUN, require_at_least


@dataclass(frozen=True, slots=True)
class SlicesDiff:
    """Say by how much each expert differs between two checkpoints of one model.

    Give `base_slices` and a round to see what tuning changed, or two rounds, or rounds
    of two runs. The relative change is the length of the difference over the length of
    the first checkpoint's weights.
    """

    first: Annotated[Path, Parameter(name="FIRST", negative=())]
    """Folder of a round, or a file of slices."""

    second: Annotated[Path, Parameter(name="SECOND", negative=())]
    """The same of what it is compared with."""

    num_rows: Annotated[int, RUN] = field(default=20, kw_only=True)
    """Experts and routers that are listed, the largest change first (count)."""

    def __post_init__(self) -> None:
        """Refuse a count that means nothing."""
        require_at_least("--num-rows", self.num_rows, 1)

    def run(self) -> str:
        """Compare them.

        Returns:
            A line for each.
        """
        from driftmap.recipes.steps.slices.comparing import comparison

        return comparison(self.first, self.second, self.num_rows)
