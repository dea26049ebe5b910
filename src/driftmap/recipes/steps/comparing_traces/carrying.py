"""In which order is a comparison of traces done, from prompts to report?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from driftmap.load.model import LoadedModel
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.comparing_traces.concluding import Traced, conclude
from driftmap.recipes.steps.tracing.one_fact import HowTraced
from driftmap.recipes.steps.tracing.preparing import Prepared, prepare
from driftmap.recipes.steps.tracing.reading import ReadFacts
from driftmap.recipes.steps.tracing.sharing import Sharing, TraceWork, read_traces
from driftmap.recipes.trace_compare_options import CompareOptions, PromptOptions
from driftmap.recipes.trace_options import FREE, NoiseOptions, StateOptions
from driftmap.results.fact_traces import FactTraces
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.run_dir import Redoes
from driftmap.store.steps import StepOutcome

KIND = "trace-compare"
TRACES_KIND = "driftmap.traces"

WITHOUT_SEED = ("zero", "mean", "swap")
"""Noise that is the same under every seed, so that it sets no ceiling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparePlan:
    """What is asked of a comparison.

    Args:
        source: The model, for workers to load.
        prompts: Which prompts.
        comparing: What is compared, and how chance is drawn.
        noise: What is corrupted.
        engine: Where prompts are traced.
        redoes: Settings that may change, and the steps that are then done again.
    """

    source: ModelSource
    prompts: PromptOptions
    comparing: CompareOptions
    noise: NoiseOptions
    engine: EngineOptions
    redoes: Redoes


def carry_out(
    loaded: LoadedModel,
    read: ReadFacts,
    plan: ComparePlan,
    settings: Mapping[str, object],
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model.
        read: The prompts.
        plan: What is asked.
        settings: The resolved recipe.

    Returns:
        The report.

    Raises:
        DataError: No prompt can be traced, or one may not be left out.
        MeasureError: The model cannot be traced in this way, or no prompt has a
            profile.
    """
    seed, out = int(str(settings["seed"])), Path(str(settings["out"]))
    states = StateOptions(
        kinds=plan.comparing.wanted,
        window=plan.comparing.window,
        outcome=plan.comparing.outcome,
    )
    facts = plan.prompts.as_file
    prepared = prepare(loaded, read, facts, plan.noise, states, seed)
    with bench.opened(loaded, out, settings, KIND, FREE, plan.redoes) as study:
        if read.sha256:
            study.run.note_inputs({"facts": read.sha256})
        steps = [
            _traces_step(study, prepared, plan, number)
            for number in range(1 + _num_again(plan))
        ]
        found = [_load(step, number) for number, step in enumerate(steps)]
        traced = Traced(
            prepared=prepared,
            first=found[0],
            again=tuple(found[1:]),
            keys=tuple(step.key for step in steps),
            name=plan.prompts.facts or "prompts given",
        )
        return conclude(study, traced, plan.comparing)


def _num_again(plan: ComparePlan) -> int:
    return 0 if plan.noise.noise in WITHOUT_SEED else plan.comparing.other_seeds


def _traces_step(
    study: Study, prepared: Prepared, plan: ComparePlan, number: int
) -> StepOutcome:
    """Trace every prompt under one seed of the noise, prompt by prompt."""
    seed, row = prepared.noise.seed + number, plan.comparing.profile_row
    how = HowTraced(
        kinds=plan.comparing.wanted,
        window=plan.comparing.window,
        outcome=plan.comparing.outcome,
        noise=replace(prepared.noise, seed=seed),
        has_control=False,
        traces_unknown=False,
        is_fast=False,
        reads_lens=False,
        role=None if row == "all roles" else row,
    )
    work = TraceWork(
        source=plan.source, facts=prepared.facts, how=how, text_ids=prepared.text_ids
    )
    inputs = {
        "model": study.loaded.identity.sha256,
        "dtype": study.loaded.identity.dtype,
        "facts": prepared.sha256,
        "how": asdict(how),
    }
    sharing = Sharing(source=plan.source, options=plan.engine, run=study.run.path)

    def make(folder: Path) -> None:
        folders = sharing.make(study.loaded, work, inputs)
        traces = read_traces(folders)
        found = FactTraces(outcome=how.outcome, noise=how.noise, traces=traces)
        save_apart(folder, _name(number), found, TRACES_KIND)

    step = study.run.step(_name(number), inputs, make)
    sharing.finish()
    return step


def _name(number: int) -> str:
    return f"traces-again-{number}" if number else "traces"


def _load(step: StepOutcome, number: int) -> FactTraces:
    home = step.path(f"{_name(number)}.json").parent
    return load_apart(home, _name(number), FactTraces, TRACES_KIND)
