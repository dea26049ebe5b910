"""What does the report of an edit start from?"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.editing.models import Made, read_model, read_point
from driftmap.recipes.steps.editing.rows import PreparedRows
from driftmap.results.edit_study import EditFindings
from driftmap.store.plain import save_json
from driftmap.store.steps import StepOutcome

FINDINGS = "findings.json"
FINDINGS_KIND = "edit-findings"


def findings_step(
    study: Study, rows: PreparedRows, shape: str, made: Sequence[Made]
) -> StepOutcome:
    """Gather what is said of rows and of every model.

    Args:
        study: Folder, model and seed.
        rows: What was learnt.
        shape: Of the file of facts.
        made: The models, the first one first.
    """
    points = {step.key: step for one in made for step in one.points}

    def make(folder: Path) -> None:
        found = EditFindings(
            model=study.loaded.identity,
            shape=shape,
            rows=rows.told,
            models=tuple(read_model(one.model, one.arm) for one in made),
            points=tuple(read_point(step) for step in points.values()),
        )
        save_json(folder / FINDINGS, found, FINDINGS_KIND)

    inputs = {
        "rows": rows.sha256,
        "told": asdict(rows.told),  # rows that were dropped, too
        "shape": shape,
        "models": [one.model.key for one in made],
        "points": list(points),
        "asked": [step.key for one in made for step in one.asked],
    }
    return study.run.step("findings", inputs, make)
