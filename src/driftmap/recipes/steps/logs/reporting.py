"""How does a run of drift logs become a report, from its folder alone?"""

from driftmap.recipes.steps.logs.comparing import (
    EFFECTS_TABLE,
    LOGS_STATISTICS_KIND,
    LOGS_TABLE,
    STATISTICS_FILE,
)
from driftmap.recipes.steps.pages import Drawing
from driftmap.render.logs_page import logs_page
from driftmap.results.drift_logs import LogsStatistics, LogsStudy
from driftmap.results.plain import from_plain
from driftmap.store.plain import load_json
from driftmap.store.recipe_file import load_recipe
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table


def logs_report(run: RunDir) -> Drawing:
    """What the page on drift logs is drawn from."""
    logs = run.require("logs")
    return Drawing(of=(logs,), page=lambda: logs_page(read_logs_study(run, logs)))


def read_logs_study(run: RunDir, logs: StepOutcome) -> LogsStudy:
    """Gather all that a run of drift logs says.

    Args:
        run: The run.
        logs: Its step that read the logs.
    """
    statistics = load_json(logs.path(STATISTICS_FILE), LOGS_STATISTICS_KIND)
    return LogsStudy(
        source=str(load_recipe(run.path).settings["drift_logs"]),
        logs=load_table(logs.path(LOGS_TABLE)),
        effects=load_table(logs.path(EFFECTS_TABLE)),
        statistics=from_plain(LogsStatistics, statistics),
    )
