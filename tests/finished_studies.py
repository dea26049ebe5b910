"""A finished drift study, opened again to add to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from driftmap.load.model import LoadedModel
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.inference.concluding import Tuned
from driftmap.recipes.steps.tuning.training import live_drift
from driftmap.store.run_dir import RunDir


@contextmanager
def reopened(
    out: Path, loaded: LoadedModel, num_runs: int
) -> Iterator[tuple[Study, Tuned]]:
    """The study of a run folder, with its groups and training runs."""
    with RunDir.reopen(out) as run:
        study = Study(run=run, loaded=loaded, seed=0)
        groups = run.require("groups")
        runs = [run.require(f"tune-seed-{number}") for number in range(num_runs)]
        live = live_drift(study, groups)
        yield study, Tuned(groups=groups, runs=runs, live=live)
