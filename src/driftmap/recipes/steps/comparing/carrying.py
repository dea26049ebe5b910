"""In which order are two models compared?"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from driftmap.core.progress import phase
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.compare_options import FREE
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.pair import Pair, load_beside
from driftmap.recipes.steps.comparing.planning import ComparePlan
from driftmap.recipes.steps.comparing.reporting import models_step, probes_step
from driftmap.recipes.steps.logbook import logged
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.probes import Probes
from driftmap.store.run_dir import RunDir

KIND = "compare"


def carry_out(
    plan: ComparePlan, source: ModelSource, settings: Mapping[str, object]
) -> Path:
    """Do all steps that are not done yet.

    Args:
        plan: What is asked.
        source: The base model, and how it is loaded.
        settings: The resolved recipe.

    Returns:
        The report.

    Raises:
        ModelError: A model cannot be loaded, or the two are of different kinds.
        DataError: A probe cannot be put to the models.
    """
    out = Path(str(settings["out"]))
    with (
        RunDir.open(out, settings, KIND, free=FREE) as run,
        logged(out, KIND),
    ):
        seed = int(str(settings["seed"]))
        run.note_seeds({"seed": seed})
        models_step(run, plan)
        if plan.parts == ("structure",):
            run.note_environment(
                num_threads=torch.get_num_threads(), device="none", dtype=source.dtype
            )
        else:
            with _pair(run, plan, source, seed) as pair:
                _ask(pair, plan)
        return report_step(run).path(REPORT)


@contextmanager
def _pair(
    run: RunDir, plan: ComparePlan, source: ModelSource, seed: int
) -> Iterator[Pair]:
    """Both models, for as long as the block runs."""
    with phase("load both models"):
        loaded = load_model(source)
        tuned = load_beside(loaded, plan.run.last)
    with threads_for(loaded.identity):
        run.note_environment(
            num_threads=torch.get_num_threads(),
            device=loaded.identity.device,
            dtype=loaded.identity.dtype,
        )
        run.note_inputs(
            {"base": loaded.identity.sha256, "tuned": tuned.identity.sha256}
        )
        yield Pair(
            study=Study(run=run, loaded=loaded, seed=seed), run=plan.run, tuned=tuned
        )


def _ask(pair: Pair, plan: ComparePlan) -> None:
    """All parts that need both models, in the order of the page."""
    if plan.probes is not None:
        _ask_probes(pair, plan, plan.probes)


def _ask_probes(pair: Pair, plan: ComparePlan, probes: Probes) -> None:
    run = pair.study.run
    run.note_inputs({"probes": probes.sha256})
    probes_step(run, probes)
