"""How does a run look, drawn again from its folder alone?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.core.errors import StoreError


@dataclass(frozen=True, slots=True)
class Report:
    """Draw the report of a finished run again, from its folder alone.

    Nothing is measured and no model is loaded: the pages and pictures are made from
    the tables and statistics of the run.
    """

    run_folder: Annotated[Path, Parameter(name="RUN", negative=())]
    """Folder of the run, as `driftmap drift` or `driftmap demo` wrote it."""

    def run(self) -> Path:
        """Draw `report.html`, `report.txt` and the pictures.

        Returns:
            The report.
        """
        from driftmap.recipes.steps.logbook import logged
        from driftmap.recipes.steps.pages import REPORT
        from driftmap.recipes.steps.reports import REPORTS, report_step
        from driftmap.store.recipe_file import load_recipe
        from driftmap.store.run_dir import RunDir

        kind = load_recipe(self.run_folder).kind
        if kind not in REPORTS:
            raise StoreError(
                f"{self.run_folder}: holds a run of `{kind}`, which has no report; "
                "name the folder of a drift study"
            )
        with RunDir.reopen(self.run_folder) as run, logged(run.path, "report"):
            return report_step(run).path(REPORT)
