"""In which order is a model's utility read, and what follows from the readings?"""

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import UsageError
from driftmap.core.progress import say
from driftmap.load.long_text import LongText, read_text
from driftmap.recipes.steps.evaluating.comparing import Comparison
from driftmap.recipes.steps.evaluating.perplexity import (
    load_perplexities,
    perplexity_file,
    perplexity_step,
    window_for,
)
from driftmap.recipes.steps.evaluating.shelf import Shelf
from driftmap.recipes.steps.evaluating.utility import (
    load_tasks,
    read_by,
    require_tasks,
    task_step,
    tasks_file,
)
from driftmap.recipes.utility_options import UtilityOptions
from driftmap.results.evaluation import Which
from driftmap.results.perplexity import PerplexityReading
from driftmap.results.plain import from_plain, to_plain
from driftmap.results.usefulness import TaskScore, Usefulness
from driftmap.results.utility import TaskReading
from driftmap.stats.usefulness import (
    mean_score,
    perplexity_ratios,
    perplexity_score,
    task_changes,
    task_score,
)
from driftmap.store.files import sha256_of
from driftmap.store.plain import load_json, save_json
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

STEP = "usefulness"
_KIND = "driftmap.usefulness"
_FILE = "usefulness.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsefulPlan:
    """What shows a model's utility.

    Args:
        options: As the user gave them.
        texts: What perplexity is read on.
        batch_size: Choices or requests at a time.
        compared: What stands beside the model.
    """

    options: UtilityOptions
    texts: Sequence[LongText]
    batch_size: int
    compared: Comparison


def read_texts(options: UtilityOptions) -> tuple[LongText, ...]:
    """Read what perplexity needs, and refuse tasks that cannot be run.

    Raises:
        DataError: A text cannot be used.
        ModelError: A task needs lm-eval, which is not installed.
        UsageError: Two texts have the same name.
    """
    require_tasks(options)
    texts = tuple(read_text(source) for source in options.perplexity)
    names = [text.name for text in texts]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--perplexity: two texts are called {name}; rename one of the files"
            )
    return texts


def useful_steps(run: RunDir, shelf: Shelf, plan: UsefulPlan) -> None:
    """Read perplexity and tasks of each model, and write every number down."""
    models: list[Which] = ["this"]
    if "compared" in plan.compared.sources:
        models.append("compared")
    desks = [shelf.desk(model) for model in models]
    window = window_for(plan.options.window, desks) if plan.texts else 0
    read: list[tuple[str, Which, StepOutcome]] = []
    for model in models:
        read += _of_model(run, shelf, (plan, window), model)
    read += _earlier(run, plan)
    names = {str(m): shelf.desk(m).identity.source for m in models}
    if plan.compared.earlier is not None:
        names["compared"] = f"run {plan.compared.earlier}"

    def make(folder: Path) -> None:
        found = _usefulness(read, plan.options, names)
        save_json(folder / _FILE, to_plain(found), _KIND)

    inputs = {"of": [step.key for _, _, step in read], "models": names}
    run.step(STEP, inputs, make)


def load_usefulness(step: StepOutcome) -> Usefulness:
    """Read every number back."""
    return from_plain(Usefulness, load_json(step.path(_FILE), _KIND))


def _of_model(
    run: RunDir, shelf: Shelf, planned: tuple[UsefulPlan, int], model: Which
) -> Iterator[tuple[str, Which, StepOutcome]]:
    plan, window = planned
    if plan.texts:
        step = perplexity_step(run, shelf, model, plan.texts, window)
        yield "texts", model, step
    if plan.options.tasks:
        step = task_step(run, shelf, model, plan.options, plan.batch_size)
        yield "tasks", model, step


def _earlier(run: RunDir, plan: UsefulPlan) -> Iterator[tuple[str, Which, StepOutcome]]:
    """What an earlier evaluation read, where it read the same kind of thing."""
    folder = plan.compared.earlier
    if folder is None:
        return
    for kind, is_asked, name in (
        ("texts", bool(plan.texts), perplexity_file),
        ("tasks", bool(plan.options.tasks), tasks_file),
    ):
        file = folder / name("this")
        if is_asked and file.is_file():
            yield kind, "compared", _copied(run, f"{kind}-earlier", file, name)
        elif is_asked:
            say(f"{folder}: that run read no {kind}, so these are not compared")


def _copied(
    run: RunDir, step: str, file: Path, name: Callable[[Which], str]
) -> StepOutcome:
    def make(folder: Path) -> None:
        target = folder / name("compared")
        target.parent.mkdir(parents=True)
        shutil.copyfile(file, target)

    return run.step(step, {"sha256": sha256_of(file)}, make)


def _usefulness(
    read: Sequence[tuple[str, Which, StepOutcome]],
    options: UtilityOptions,
    names: Mapping[str, str],
) -> Usefulness:
    # The evaluated model first.
    ordered = sorted(read, key=lambda one: one[1] != "this")
    tasks: dict[Which, list[TaskReading]] = {
        model: load_tasks(step, model)
        for kind, model, step in ordered
        if kind == "tasks"
    }
    texts: dict[Which, dict[str, PerplexityReading]] = {
        model: load_perplexities(step, model)
        for kind, model, step in ordered
        if kind == "texts"
    }
    scores: dict[Which, list[TaskScore]] = {
        model: [task_score(model, one) for one in some] for model, some in tasks.items()
    }
    are_two = ("compared" in tasks, "compared" in texts)
    return Usefulness(
        models=names,
        limit=options.limit,
        read_by=read_by(options),
        scores=tuple(one for some in scores.values() for one in some),
        means=tuple(mean_score(m, some) for m, some in scores.items() if len(some) > 1),
        changes=task_changes(tasks["this"], tasks["compared"]) if are_two[0] else (),
        perplexities=tuple(
            perplexity_score(model, one)
            for model, readings in texts.items()
            for one in readings.values()
        ),
        ratios=perplexity_ratios(texts["this"], texts["compared"])
        if are_two[1]
        else (),
    )
