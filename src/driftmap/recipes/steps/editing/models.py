"""What is said of one model that was made, and how does it weigh the answers?"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from driftmap.recipes.edit_options import AnswerOptions
from driftmap.recipes.steps.comparing.edits import edit_point
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.recipes.steps.editing.answering import written_pairs
from driftmap.recipes.steps.editing.changed import changed_tensors
from driftmap.recipes.steps.editing.planning import EditArm
from driftmap.recipes.steps.editing.rows import PreparedRows
from driftmap.recipes.steps.editing.sameness import is_identical
from driftmap.recipes.steps.editing.training import read_cost
from driftmap.results.edit_study import EditedModel, EditPoint
from driftmap.results.facts import Fact
from driftmap.results.plain import from_plain
from driftmap.store.plain import load_json, save_json
from driftmap.store.steps import StepOutcome

MODEL_KIND = "edited-model"
POINT_KIND = "edit-point"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Steps that made and asked one model.

    Args:
        arm: How it was made.
        model: What is said of it.
        points: How it and its base weigh the answers; none where it is the only one.
        asked: What both were asked; none but of the first model, if it is another one
            than its base.
    """

    arm: EditArm
    model: StepOutcome
    points: tuple[StepOutcome, ...]
    asked: tuple[StepOutcome, ...]


def model_step(
    pair: Pair,
    made: tuple[EditArm, StepOutcome],
    rows: PreparedRows,
    facts: Sequence[Fact],
    options: AnswerOptions,
) -> StepOutcome:
    """Say what was trained, whether it is the base still, and what both write.

    Args:
        pair: Base and tuned model.
        made: How it was made, and the step that trained it.
        rows: What it learnt.
        facts: What it was taught.
        options: What is written.
    """
    arm, tuned = made

    def make(folder: Path) -> None:
        same = is_identical(pair, rows.samples)
        num_tensors, moved = changed_tensors(pair, arm.within)
        told = EditedModel(
            name=arm.name,
            tune=arm.settings.tune,
            layers=arm.layers,
            parts=tuple(dict.fromkeys(site.part for site in arm.sites)),
            is_identical=same,
            cost=read_cost(tuned, arm),
            num_tensors=num_tensors,
            tensors=moved,
            written=() if same else written_pairs(pair, facts, options),
        )
        save_json(folder / _model_file(arm), told, MODEL_KIND)

    inputs = {
        **pair.inputs,
        "tuned": tuned.key,
        "facts": _sha256(facts[: options.show]),
        "answers": asdict(options),
    }
    return pair.study.run.step(f"model-{arm.name}", inputs, make)


def read_model(step: StepOutcome, arm: EditArm) -> EditedModel:
    """What the step said."""
    return from_plain(EditedModel, load_json(step.path(_model_file(arm)), MODEL_KIND))


def point_step(
    pair: Pair, arm: EditArm, facts: Sequence[Fact], of: Literal["base", "tuned"]
) -> StepOutcome:
    """Weigh present and new answers in one of the two models.

    Bases that are the same share a step.
    """
    rounded = arm.settings.is_four_bit
    kind = "rounded" if rounded else "model"
    name = arm.name if of == "tuned" else kind
    loaded = pair.tuned if of == "tuned" else pair.base

    def make(folder: Path) -> None:
        values = edit_point(loaded, facts, pair.study.seed)
        point = EditPoint(
            model=arm.name if of == "tuned" else "",
            base="rounded" if rounded else "model",
            values={str(name): value for name, value in values.items()},
        )
        save_json(folder / f"tables/points/{name}.json", point, POINT_KIND)

    inputs = {
        "model": loaded.identity.sha256,
        "dtype": loaded.identity.dtype,
        "facts": _sha256(facts),
        "seed": pair.study.seed,
    }
    return pair.study.run.step(f"point-{name}", inputs, make)


def read_point(step: StepOutcome) -> EditPoint:
    """What the step found."""
    (file,) = step.files
    return from_plain(EditPoint, load_json(step.path(file), POINT_KIND))


def _model_file(arm: EditArm) -> str:
    return f"tables/models/{arm.name}.json"


def _sha256(facts: Sequence[Fact]) -> str:
    return hashlib.sha256(
        json.dumps([asdict(fact) for fact in facts]).encode()
    ).hexdigest()
