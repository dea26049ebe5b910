"""What does each model of an evaluation reach on tasks?"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
from transformers import PreTrainedModel

from driftmap.core.errors import DataError
from driftmap.core.shortage import explained
from driftmap.evaluate.choices import choice_readings
from driftmap.evaluate.harness import (
    HarnessSettings,
    harness_readings,
    require_harness,
)
from driftmap.evaluate.task_files import write_tasks
from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.evaluating.exam import world_items
from driftmap.recipes.steps.evaluating.shelf import Shelf
from driftmap.recipes.utility_options import WORLD, UtilityOptions
from driftmap.results.evaluation import Which
from driftmap.results.table import Table
from driftmap.results.utility import ChoiceItem, TaskReading
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

_NO_NUMBER = -1.0


def require_tasks(options: UtilityOptions) -> None:
    """Refuse tasks of lm-eval before long work, where they cannot be run.

    Raises:
        DataError: There is no such folder of tasks.
        ModelError: lm-eval is not installed.
    """
    if not options.foreign_tasks():
        return
    require_harness()
    folder = options.task_folder
    if folder is not None and not folder.expanduser().is_dir():
        raise DataError(
            f"--task-folder {folder}: there is no such folder; give one that holds "
            "YAML files of tasks"
        )


def task_step(
    run: RunDir, shelf: Shelf, model: Which, options: UtilityOptions, batch_size: int
) -> StepOutcome:
    """Run every task on one model."""
    desk = shelf.desk(model)

    def make(folder: Path) -> None:
        loaded = shelf.take(model)
        with explained("utility", "repeat with a smaller --eval-batch-size"):
            readings = [
                *_of_worlds(loaded, options, batch_size),
                *_of_harness(loaded, options, batch_size),
            ]
        save_table(folder / tasks_file(model), _table(readings))

    inputs = {
        "model": [desk.identity.sha256, desk.identity.dtype],
        "template": str(desk.tokenizer.chat_template),
        "tasks": asdict(options) | {"perplexity": None, "window": None},
        # Tasks and prompts of another release may differ.
        "lm-eval": _version() if options.foreign_tasks() else None,
    }
    return run.step(f"tasks-{model}", inputs, make)


def load_tasks(step: StepOutcome, model: Which) -> list[TaskReading]:
    """Readings of one model, task by task."""
    table = load_table(step.path(tasks_file(model)))
    readings = []
    for task in table.unique("task"):
        rows = table.where(task=task)
        chance = float(rows["chance"][0])
        readings.append(
            TaskReading(
                task=str(task),
                metric=str(rows["metric"][0]),
                num_shots=int(rows["num_shots"][0]),
                num_available=int(rows["num_available"][0]),
                item_ids=tuple(rows["item_id"].tolist()),
                values=rows["value"].astype(np.float64),
                chance=None if chance == _NO_NUMBER else chance,
            )
        )
    return readings


def read_by(options: UtilityOptions) -> str:
    """Who reads tasks here; empty where there are none."""
    if not options.tasks:
        return ""
    return f"lm-eval {_version()}" if _has_harness() else "driftmap"


def tasks_file(model: Which) -> str:
    """Where the items of one model are kept."""
    return f"tables/tasks/{model}.parquet"


def _of_worlds(
    loaded: LoadedModel, options: UtilityOptions, batch_size: int
) -> list[TaskReading]:
    readings: list[TaskReading] = []
    for task in options.tasks:
        name, _, seed = task.partition(":")
        if name == WORLD:
            items = world_items(int(seed or 0), loaded.tokenizer)
            found = _chosen(loaded, items, options.limit, batch_size)
            mark = f" (seed {int(seed)})" if int(seed or 0) else ""
            readings += [replace(one, task=one.task + mark) for one in found]
    return readings


def _chosen(
    loaded: LoadedModel, items: Sequence[ChoiceItem], limit: int | None, batch_size: int
) -> list[TaskReading]:
    """Read items by lm-eval where it is installed, else in its way ourselves."""
    model = cast(PreTrainedModel, loaded.model)
    if not _has_harness():
        found = choice_readings(
            model, loaded.tokenizer, items, limit=limit, batch_size=batch_size
        )
        return list(found)
    with TemporaryDirectory(prefix="driftmap-tasks-") as folder:
        tasks = write_tasks(items, Path(folder))
        settings = HarnessSettings(
            limit=limit, batch_size=batch_size, folder=Path(folder)
        )
        found = harness_readings(model, loaded.tokenizer, tasks, settings)
    # Our names of the items: a model may be compared with one that was read elsewhere.
    names = {task: [i.item_id for i in items if i.task == task] for task in tasks}
    return [
        replace(one, item_ids=tuple(names[one.task][: one.values.size]))
        for one in found
    ]


def _of_harness(
    loaded: LoadedModel, options: UtilityOptions, batch_size: int
) -> tuple[TaskReading, ...]:
    tasks = options.foreign_tasks()
    if not tasks:
        return ()
    return harness_readings(
        cast(PreTrainedModel, loaded.model),
        loaded.tokenizer,
        tasks,
        HarnessSettings(
            limit=options.limit,
            batch_size=batch_size,
            as_chat=options.tasks_as_chat,
            folder=options.task_folder,
        ),
    )


def _has_harness() -> bool:
    return _version() != "none"


def _version() -> str:
    try:
        return version("lm-eval")
    except PackageNotFoundError:
        return "none"


def _table(readings: Sequence[TaskReading]) -> Table:
    return Table.from_rows(
        [
            {
                "task": reading.task,
                "metric": reading.metric,
                "num_shots": reading.num_shots,
                "num_available": reading.num_available,
                "chance": _NO_NUMBER if reading.chance is None else reading.chance,
                "item_id": item_id,
                "value": value,
            }
            for reading in readings
            for item_id, value in zip(
                reading.item_ids, reading.values.tolist(), strict=True
            )
        ]
    )
