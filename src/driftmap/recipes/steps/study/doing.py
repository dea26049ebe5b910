"""How are the runs of a study done, one after another or several at a time?

At a time means in a process each. A run begins as soon as those that it names are
finished; built-in models are made by the first that needs them, and others wait.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from driftmap.core.errors import DriftmapError, EngineError
from driftmap.core.launch import launched
from driftmap.core.lines import Lines
from driftmap.core.progress import listening, say
from driftmap.recipes.steps.study.files import PlannedRun, StudyFile
from driftmap.recipes.steps.study.parsing import recipe_of
from driftmap.recipes.steps.study.places import Places, runs_named


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """A line that a process wants to be heard."""

    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """How a run ended: with an error, or well."""

    error: DriftmapError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    """A process that does one run.

    Args:
        run: The run.
        process: The process.
        told: What it says.
    """

    run: PlannedRun
    process: BaseProcess
    told: Connection


def do_runs(
    study: StudyFile, chosen: Sequence[PlannedRun], out: Path, at_once: int
) -> None:
    """Do runs that are not done yet.

    Args:
        study: The study.
        chosen: Which of its runs, in order.
        out: The study's folder.
        at_once: How many at a time.

    Raises:
        DriftmapError: A run cannot be done; the others are stopped.
    """
    if at_once == 1 or len(chosen) == 1:
        for number, run in enumerate(chosen, 1):
            say(f"run {number} of {len(chosen)}, {run.name}: driftmap {run.kind}")
            do_run(study, run, out)
        return
    workers: list[_Worker] = []
    try:
        _do_together(study, list(chosen), out, at_once, workers)
    finally:
        for worker in workers:
            worker.process.terminate()
            worker.process.join()


def do_run(study: StudyFile, run: PlannedRun, out: Path) -> None:
    """Do one run in this process."""
    options = Places(out=out, seed=study.seed).filled(run)
    recipe_of(study, run, options, out / run.name).run()


def _do_together(
    study: StudyFile,
    waiting: list[PlannedRun],
    out: Path,
    at_once: int,
    workers: list[_Worker],
) -> None:
    num, begun = len(waiting), 0
    left = {run.name for run in waiting}
    while left:
        for run in _ready(waiting, left)[: at_once - len(workers)]:
            begun += 1
            say(f"run {begun} of {num}, {run.name}: driftmap {run.kind}")
            waiting.remove(run)
            workers.append(_started(study, run, out))
        by_connection = {worker.told: worker for worker in workers}
        for told in wait(list(by_connection)):
            assert isinstance(told, Connection)
            worker = by_connection[told]
            if _has_ended(worker):
                workers.remove(worker)
                left.discard(worker.run.name)


def _ready(waiting: Sequence[PlannedRun], left: set[str]) -> list[PlannedRun]:
    """Runs that name none which is still to be done."""
    return [run for run in waiting if not left & runs_named(run)]


def _started(study: StudyFile, run: PlannedRun, out: Path) -> _Worker:
    context = get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(study, run, out, tell))
    process.start()
    tell.close()
    return _Worker(run=run, process=process, told=told)


def _work(study: StudyFile, run: PlannedRun, out: Path, tell: Connection) -> None:
    """What a process does."""
    error: DriftmapError | None = None
    with suppress(KeyboardInterrupt, BrokenPipeError):
        listener = Lines(lambda line: tell.send(_Said(line=line)))
        with listening(listener), launched():
            try:
                do_run(study, run, out)
            except DriftmapError as raised:
                error = raised
        tell.send(_Ended(error=error))


def _has_ended(worker: _Worker) -> bool:
    """Pass on what a process says; whether it has nothing more to say.

    Raises:
        DriftmapError: What the run raised.
        EngineError: The process is gone.
    """
    name = worker.run.name
    try:
        message = worker.told.recv()
    except EOFError:
        worker.process.join()
        raise EngineError(
            f"run `{name}`: its process ended with {worker.process.exitcode}; see its "
            "log.txt, and repeat the command with --at-once 1"
        ) from None
    if isinstance(message, _Said):
        say(f"{name}: {message.line}")
        return False
    worker.process.join()
    if message.error is not None:
        raise type(message.error)(f"run `{name}`: {message.error}")
    return True
