"""What do drift logs that somebody else wrote say, drawn and compared?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from driftmap.recipes.options import DATA, RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLogs:
    """Draw the drift logs of another program, and compare their groups.

    Reads `drift_step_*.json`, and `statistical_results.json` where it lies beside
    them, and writes a run folder with tables, figures and a report: curves, boxes
    and Cohen's d. Summaries allow no null, so there is no test and no verdict.
    """

    drift_logs: Annotated[Path, DATA]
    """Drift logs made elsewhere: `drift_step_000500.json` and its like, instead of a
    model and data (folder, or one file)."""

    out: Annotated[Path, RUN] = Path("runs/drift-logs")
    """Run folder; one with the same settings is reused (path)."""

    def run(self) -> Path:
        """Read, compare and draw what is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps.logbook import logged
        from driftmap.recipes.steps.logs.comparing import KIND, logs_step, read_logs
        from driftmap.recipes.steps.pages import REPORT
        from driftmap.recipes.steps.reports import report_step
        from driftmap.store.run_dir import RunDir

        logs = read_logs(self.drift_logs)
        with (
            RunDir.open(self.out, asdict(self), KIND, free=("out",)) as run,
            logged(self.out, KIND),
        ):
            run.note_inputs(logs.sha256)
            logs_step(run, logs)
            return report_step(run).path(REPORT)
