"""In which order are two models compared?"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch

from driftmap.core.progress import phase
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.load.structure import compare_structure
from driftmap.recipes.compare_options import FREE, Part
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing.attention.changes import attention_step
from driftmap.recipes.steps.comparing.behaviour.step import behaviour_step
from driftmap.recipes.steps.comparing.edits import edit_context, edits_step
from driftmap.recipes.steps.comparing.over_training import training_step
from driftmap.recipes.steps.comparing.pair import Pair, load_beside
from driftmap.recipes.steps.comparing.planning import (
    ComparePlan,
    require_same_tokens,
)
from driftmap.recipes.steps.comparing.readings import readings_step
from driftmap.recipes.steps.comparing.reporting import (
    models_step,
    probes_step,
    taught_step,
)
from driftmap.recipes.steps.comparing.sizing import (
    attention_sizes,
    behaviour_sizes,
    edit_sizes,
    where_sizes,
)
from driftmap.recipes.steps.comparing.structure import (
    read_structure,
    structure_step,
)
from driftmap.recipes.steps.comparing.taught import TaughtFacts, taught_facts
from driftmap.recipes.steps.comparing.weights.alone import weights_alone_step
from driftmap.recipes.steps.comparing.weights.carrying import weights_step
from driftmap.recipes.steps.comparing.where.carrying import where_step
from driftmap.recipes.steps.logbook import logged
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.threads import threads_for
from driftmap.results.model_structure import StructureDiff
from driftmap.results.probes import Probes
from driftmap.store.run_dir import RunDir

KIND = "compare"

OF_FACTS: tuple[Part, ...] = ("edits", "where", "attention")
"""Parts that tell facts that were taught from others."""


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
        built = _look(run, plan)
        if built.base is None and set(plan.parts) <= {"structure", "weights"}:
            _note_no_model(run, source)
            if plan.has("weights"):
                weights_alone_step(run, plan.run)
        elif plan.parts == ("structure",):
            _note_no_model(run, source)
        else:
            with _pair(run, plan, source, seed) as pair:
                _ask(pair, plan)
        return report_step(run).path(REPORT)


def _note_no_model(run: RunDir, source: ModelSource) -> None:
    run.note_environment(
        num_threads=torch.get_num_threads(), device="none", dtype=source.dtype
    )


def _look(run: RunDir, plan: ComparePlan) -> StructureDiff:
    """See how both are built, and refuse two that cannot be asked the same."""
    if plan.has("structure"):
        structure_step(run, plan.base, plan.run)
        found = read_structure(run)
        assert found is not None, "the step has just been done"
    else:
        found = compare_structure(plan.base, plan.run)
    if plan.probes is not None:
        require_same_tokens(found)
    return found


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
    if plan.has("weights"):
        weights_step(pair, plan.options.groups)
    if plan.probes is not None:
        _ask_probes(pair, plan, plan.probes)


def _ask_probes(pair: Pair, plan: ComparePlan, probes: Probes) -> None:
    pair.study.run.note_inputs({"probes": probes.sha256})
    probes_step(pair.study.run, probes)
    asked = behaviour_sizes(plan.sizes)
    if plan.has("behaviour"):
        behaviour_step(pair, probes, asked)
    if any(plan.has(part) for part in OF_FACTS):
        found = taught_facts(pair, probes, asked)
        taught_step(pair.study.run, found, probes)
        _ask_facts(pair, plan, probes, found)
    if plan.has("readings"):
        readings_step(pair, probes, asked)
    if plan.has("training"):
        training_step(pair, probes, plan.sizes)


def _ask_facts(
    pair: Pair, plan: ComparePlan, probes: Probes, found: TaughtFacts
) -> None:
    """Parts that ask for facts, and tell those that were taught from others."""
    if plan.has("edits") and found.taught:
        asked = edit_sizes(plan.sizes)
        context = edit_context(
            asked, found.others, probes.texts, is_taught=not found.are_found
        )
        edits_step(pair, found.taught, asked, context)
    if plan.has("where"):
        where_step(pair, found.taught, probes, where_sizes(plan.sizes))
    if plan.has("attention"):
        # A foil that nobody taught is no new answer.
        others = tuple(replace(fact, foil=None) for fact in found.others)
        attention_step(
            pair,
            found.taught or others,
            (),
            attention_sizes(),
            others if found.taught else (),
        )
