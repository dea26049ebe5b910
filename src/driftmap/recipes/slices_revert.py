"""How does a model with tuned experts become the one that it was?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.recipes.options import RUN


@dataclass(frozen=True, slots=True)
class SlicesRevert:
    """Write a tuned model with its old experts and routers back in their places.

    `driftmap experts` keeps what it tunes as it was before, in `base_slices`. The
    result is checked: it has the weights of the untouched model bit for bit, or nothing
    is written.
    """

    base_slices: Annotated[Path, Parameter(name="BASE_SLICES", negative=())]
    """File of what they were (`checkpoints/base_slices.safetensors`)."""

    model: Annotated[str, RUN] = field(kw_only=True)
    """The tuned model, as `driftmap slices apply` wrote it (folder or hub id)."""

    out: Annotated[Path, RUN] = field(kw_only=True)
    """Folder of the model as it was (path)."""

    def run(self) -> Path:
        """Write the model.

        Returns:
            Its folder.
        """
        from driftmap.recipes.steps.slices.writing import write_reverted

        return write_reverted(self.base_slices, self.model, self.out)
