"""Which recipes make one study, and what do they say together?"""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.core.errors import StoreError
from driftmap.recipes.options import require_at_least


@dataclass(frozen=True, slots=True)
class Study:
    """Run the recipes of a study file one after another, and report on all of them.

    Steps that two recipes share, such as the same scores or the same tuned model, are
    done once. A study that was interrupted goes on where it stopped. The names of
    `driftmap studies` stand for the studies that come with driftmap.
    """

    file: Annotated[Path, Parameter(name="FILE", negative=())]
    """Study file with `kind: study`, run folder of a study, or name of a shipped one
    (path or name)."""

    only: tuple[str, ...] = field(default=(), kw_only=True)
    """A run of the study to do, by its name (name; may be repeated); by default all."""

    seed: int | None = field(default=None, kw_only=True)
    """Seed of the built-in models that a study names (integer); by default as the
    study says, else 0."""

    at_once: int = field(default=1, kw_only=True)
    """Runs that are done at the same time, in a process each; each takes the memory of
    its model (count)."""

    out: Path | None = field(default=None, kw_only=True)
    """Folder of the study, with a run folder for each recipe (path); by default
    `runs/` and the file's name, or the folder that was named."""

    def __post_init__(self) -> None:
        """Refuse a count that means nothing."""
        require_at_least("--at-once", self.at_once, 1)

    def run(self) -> Path:
        """Do all runs that are not done yet.

        Returns:
            The report of all runs.

        Raises:
            StoreError: There is no such study.
        """
        from driftmap.recipes.steps.study.carrying import carry_out
        from driftmap.recipes.steps.study.files import (
            chosen_runs,
            find_study,
            read_study_file,
            shipped_names,
        )

        found = find_study(self.file)
        if found is None:
            raise StoreError(
                f"{self.file}: there is no such study; name a study file, or one of "
                f"{', '.join(shipped_names())}"
            )
        study = read_study_file(found)
        if self.seed is not None:
            study = replace(study, seed=self.seed)
        out = found if found.is_dir() else Path("runs") / found.stem
        chosen = chosen_runs(study, self.only, "--only")
        return carry_out(study, chosen, self.out or out, self.at_once)
