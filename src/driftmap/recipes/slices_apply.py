"""How do tuned experts become a model that any program can load?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.recipes.options import RUN


@dataclass(frozen=True, slots=True)
class SlicesApply:
    """Write a model in which tuned experts and routers are in their places.

    `driftmap experts` keeps what a round tuned as slices, which are small: experts that
    it did not tune are not in them. This copies the model that they were tuned from and
    writes the slices over its own; everything else stays as it was, bit for bit. The
    result is a folder for `AutoModelForCausalLM.from_pretrained`.
    """

    slices: Annotated[Path, Parameter(name="SLICES", negative=())]
    """Folder of a round (`checkpoints/round_3`), or one file of it."""

    model: Annotated[str, RUN] = field(kw_only=True)
    """The model that they were tuned from, untouched (folder or hub id)."""

    out: Annotated[Path, RUN] = field(kw_only=True)
    """Folder of the new model (path)."""

    def run(self) -> Path:
        """Write the model.

        Returns:
            Its folder.
        """
        from driftmap.recipes.steps.slices.writing import write_applied

        return write_applied((self.slices,), self.model, self.out)
