"""What do drift logs hold, and how far apart do their groups lie?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftmap.results.drift_logs import LogsStatistics
from driftmap.results.plain import to_plain
from driftmap.results.table import Table
from driftmap.stats.log_cautions import log_cautions, log_gaps
from driftmap.stats.log_effects import checked_comparisons, logged_effects
from driftmap.store.drift_logs import (
    COMPARISONS_FILE,
    drift_log_files,
    import_comparisons,
    import_drift_logs,
)
from driftmap.store.files import sha256_of
from driftmap.store.plain import save_json
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table

KIND = "drift-logs"
"""What a run of drift logs is called in its `run.yaml`."""

LOGS_STATISTICS_KIND = "driftmap.logs_statistics"
LOGS_TABLE = "tables/drift_logs.parquet"
EFFECTS_TABLE = "tables/effects.parquet"
STATISTICS_FILE = "statistics.json"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logs:
    """Drift logs as read.

    Args:
        table: One row per step, metric and group.
        comparisons: What lies beside them in `statistical_results.json`; None
            where there is none.
        sha256: Name of each file -> its hash.
    """

    table: Table
    comparisons: Table | None
    sha256: Mapping[str, str]


def read_logs(source: Path) -> Logs:
    """Read one log, or all of a folder, and the comparisons beside them.

    Raises:
        StoreError: There is no log, or a file is damaged or of another shape.
    """
    table = import_drift_logs(source)
    files = drift_log_files(source)
    beside = files[0].with_name(COMPARISONS_FILE)
    comparisons = import_comparisons(beside) if beside.is_file() else None
    if comparisons is not None:
        files.append(beside)
    return Logs(
        table=table,
        comparisons=comparisons,
        sha256={file.name: sha256_of(file) for file in files},
    )


def logs_step(run: RunDir, logs: Logs) -> StepOutcome:
    """Write the logs as tables, with Cohen's d of every pair, and `statistics.json`."""

    def make(folder: Path) -> None:
        save_table(folder / LOGS_TABLE, logs.table)
        save_table(folder / EFFECTS_TABLE, logged_effects(logs.table))
        found = LogsStatistics(
            steps=tuple(int(step) for step in logs.table.unique("step")),
            metrics=tuple(map(str, logs.table.unique("metric"))),
            groups=tuple(map(str, logs.table.unique("group"))),
            gaps=log_gaps(logs.table),
            checks=()
            if logs.comparisons is None
            else checked_comparisons(logs.table, logs.comparisons),
            cautions=log_cautions(logs.table),
            sha256=logs.sha256,
        )
        save_json(folder / STATISTICS_FILE, to_plain(found), LOGS_STATISTICS_KIND)

    return run.step("logs", {"files": dict(logs.sha256)}, make)
