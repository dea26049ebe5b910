"""How is the space of a run given back, without losing its report?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


@dataclass(frozen=True, slots=True)
class Clean:
    """Free the space of a run that its report does not need.

    Scratch that a killed process left and kept scores go; with `--checkpoints`,
    adapters, merged models and unfinished training go as well. What goes and what
    stays is printed with its size. The report stays readable, and the command that
    made the run makes again what is gone, and nothing else.
    """

    run_folder: Annotated[Path, Parameter(name="RUN", negative=())]
    """Folder of the run; of a study, for all of its runs (path)."""

    checkpoints: bool = field(default=False, kw_only=True)
    """Free adapters, merged models and unfinished training too; to have them again
    means to train again (yes or no)."""

    dry_run: bool = field(default=False, kw_only=True)
    """Only print what would go and what would stay (yes or no)."""

    def run(self) -> Path:
        """Remove what can be spared, or say what it would be.

        Returns:
            The run folder.
        """
        from driftmap.recipes.steps.cleaning import clean, say_what_would_go
        from driftmap.recipes.steps.study.files import run_folders

        act = say_what_would_go if self.dry_run else clean
        for folder in run_folders(self.run_folder):
            act(folder, checkpoints=self.checkpoints)
        return self.run_folder
