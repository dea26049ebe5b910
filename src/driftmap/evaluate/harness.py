"""What does a model reach on the tasks of the Language Model Evaluation Harness?

lm-eval runs in this process on the model as it is, with its own seeds, so its numbers
are those that others publish. Each item's value is kept: two models are compared on
the same items.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from driftmap.core.errors import DataError, ModelError, UsageError
from driftmap.core.progress import phase
from driftmap.core.quoted import quoted
from driftmap.evaluate.harness_bars import told_in_our_way
from driftmap.evaluate.prompts import judged
from driftmap.results.utility import TaskReading

if TYPE_CHECKING:
    from lm_eval.tasks import TaskManager

Samples = Sequence[Mapping[str, object]]
Made = Callable[..., object]


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessSettings:
    """How tasks are run.

    Args:
        limit: First items of each task that are read; all where None.
        batch_size: Requests per forward pass.
        as_chat: Whether the model's chat template stands around each item.
        folder: YAML files of tasks beside those that lm-eval brings, if any.
    """

    limit: int | None = None
    batch_size: int = 16
    as_chat: bool = False
    folder: Path | None = None


def harness_readings(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    tasks: Sequence[str],
    settings: HarnessSettings,
) -> tuple[TaskReading, ...]:
    """Run tasks of lm-eval.

    Args:
        model: A model, with or without an adapter; it is left as found.
        tokenizer: The model's; it is left as found.
        tasks: Names of tasks, or of groups of them, as lm-eval has them.
        settings: How they are run.

    Returns:
        One reading per task that has no tasks of its own, in lm-eval's order.

    Raises:
        ModelError: lm-eval is not installed, or refuses the model.
        UsageError: A task has a name that lm-eval does not know.
        DataError: The data of a task cannot be had, or it gives no number per item.
    """
    require_harness()
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    # Their decorators and defaults hide what they take from a type checker.
    wrapped, evaluated = cast(Made, HFLM), cast(Made, simple_evaluate)
    with (
        told_in_our_way(),
        _without_a_census(),
        judged(model),
        _same_randomness(),
        phase("lm-eval"),
    ):
        manager = _manager(tasks, settings.folder)
        with _explained(tasks):
            results = evaluated(
                # It gives the tokenizer a padding token, so that gets its own.
                model=wrapped(
                    pretrained=model,
                    tokenizer=deepcopy(tokenizer),
                    batch_size=settings.batch_size,
                    softmax_dtype="float32",
                ),
                tasks=list(tasks),
                task_manager=manager,
                limit=settings.limit,
                apply_chat_template=settings.as_chat,
                bootstrap_iters=0,
            )
    assert results is not None, "this is the only process"
    return _readings(cast(Mapping[str, object], results))


def require_harness() -> None:
    """Refuse to start where lm-eval is not installed.

    Raises:
        ModelError: It is not.
    """
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise ModelError(
            "tasks are run by the library lm-eval, which is not installed; install it "
            "with `pip install 'driftmap[eval]'`"
        ) from error


def _manager(tasks: Sequence[str], folder: Path | None) -> "TaskManager":
    """Know the tasks of a folder, and lm-eval's own where those do not do."""
    from lm_eval.tasks import TaskManager

    if folder is not None:
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        if set(tasks) <= set(manager.all_tasks):
            return manager
    # All of lm-eval's own take a dozen seconds to find.
    manager = TaskManager(include_path=None if folder is None else str(folder))
    for task in tasks:
        if task not in manager.all_tasks:
            near = get_close_matches(task, manager.all_tasks, n=1)
            hint = f"did you mean {near[0]}?" if near else "`lm-eval ls tasks` has all"
            raise UsageError(
                f"--tasks {task}: lm-eval has no task of this name; {hint}"
            )
    return manager


@contextmanager
def _without_a_census() -> Iterator[None]:
    """lm-eval describes machine and folder: that takes seconds, and git complains."""
    from lm_eval import evaluator

    describe, commit = evaluator.add_env_info, evaluator.get_git_commit_hash
    evaluator.add_env_info = lambda storage: None
    evaluator.get_git_commit_hash = lambda: None
    try:
        yield
    finally:
        evaluator.add_env_info, evaluator.get_git_commit_hash = describe, commit


@contextmanager
def _same_randomness() -> Iterator[None]:
    """lm-eval seeds every generator of the process; ours go on where they were."""
    python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(of_numpy)


@contextmanager
def _explained(tasks: Sequence[str]) -> Iterator[None]:
    from datasets.exceptions import DatasetsError

    names = ", ".join(tasks)
    try:
        yield
    except (ConnectionError, FileNotFoundError, DatasetsError) as error:
        raise DataError(
            f"--tasks {names}: the data of a task cannot be had ({_first_line(error)}"
            "); check the network, or run it once where there is one and copy the "
            "cache of the hub library here"
        ) from error
    except (ValueError, NotImplementedError, AssertionError) as error:
        raise ModelError(
            f"--tasks {names}: lm-eval cannot run this on this model "
            f"({_first_line(error)}); choose other tasks"
        ) from error


def _readings(results: Mapping[str, object]) -> tuple[TaskReading, ...]:
    samples = cast(Mapping[str, Samples], results["samples"])
    shots = cast(Mapping[str, int], results["n-shot"])
    counts = cast(Mapping[str, Mapping[str, int]], results["n-samples"])
    scores = cast(Mapping[str, Mapping[str, object]], results["results"])
    return tuple(
        _reading(task, rows, scores[task], shots[task], counts[task]["original"])
        for task, rows in samples.items()
    )


def _reading(
    task: str,
    rows: Samples,
    scores: Mapping[str, object],
    num_shots: int,
    num_available: int,
) -> TaskReading:
    metric, chosen, values = _values(task, rows, scores)
    return TaskReading(
        task=task,
        metric=metric,
        num_shots=num_shots,
        num_available=num_available,
        item_ids=tuple(
            f"{row['doc_id']}-{str(row['doc_hash'])[:12]}" for row in chosen
        ),
        values=values,
        chance=_chance(chosen) if metric == "acc" else None,
    )


def _values(
    task: str, rows: Samples, scores: Mapping[str, object]
) -> tuple[str, Samples, "np.ndarray"]:
    """The first metric, `acc` before others, whose score is the mean of its items."""
    names = list(dict.fromkeys(str(m) for m in cast(Sequence[str], rows[0]["metrics"])))
    for name in sorted(names, key=lambda one: one != "acc"):
        for way in dict.fromkeys(str(row["filter"]) for row in rows):
            chosen = [row for row in rows if row["filter"] == way]
            values = [row.get(name) for row in chosen]
            if not all(isinstance(v, bool | int | float | np.number) for v in values):
                continue
            found = np.array(values, dtype=np.float64)
            score = scores.get(f"{name},{way}")
            if isinstance(score, int | float) and abs(found.mean() - score) < 1e-9:
                return (name if way == "none" else f"{name}, {way}"), chosen, found
    raise DataError(
        f"--tasks {task}: its scores ({', '.join(names)}) are no mean over items, so "
        "models cannot be compared item by item; choose another task, or --perplexity "
        "for running text"
    )


def _chance(rows: Samples) -> float | None:
    """What guessing gives, where each item is a choice among several."""
    choices = [len(cast(Sequence[object], row["resps"])) for row in rows]
    return float(np.mean([1 / num for num in choices])) if min(choices) > 1 else None


def _first_line(error: BaseException) -> str:
    return quoted(str(error).partition("\n")[0].rstrip("."), longest=200)
