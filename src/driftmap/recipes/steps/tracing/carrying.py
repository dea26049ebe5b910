"""In which order is a study of traces done, from facts to report?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from driftmap.load.model import LoadedModel
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import EngineOptions
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.tracing.concluding import About, conclude
from driftmap.recipes.steps.tracing.one_fact import HowTraced
from driftmap.recipes.steps.tracing.preparing import Prepared, prepare
from driftmap.recipes.steps.tracing.reading import ReadFacts
from driftmap.recipes.steps.tracing.sharing import Sharing, TraceWork, read_traces
from driftmap.recipes.trace_options import (
    FREE,
    PLAIN_KINDS,
    REDOES,
    FactOptions,
    NoiseOptions,
    StateOptions,
)
from driftmap.results.fact_traces import FactTraces
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.steps import StepOutcome

KIND = "trace"
TRACES, TRACES_KIND = "traces", "driftmap.traces"


@dataclass(frozen=True, slots=True, kw_only=True)
class TracePlan:
    """What is asked of a study of traces.

    Args:
        source: The model, for workers to load.
        facts: Which facts.
        states: What is put back.
        noise: What is corrupted.
        engine: Where facts are traced.
    """

    source: ModelSource
    facts: FactOptions
    states: StateOptions
    noise: NoiseOptions
    engine: EngineOptions


def carry_out(
    loaded: LoadedModel,
    read: ReadFacts,
    plan: TracePlan,
    settings: Mapping[str, object],
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model.
        read: The facts.
        plan: What is asked.
        settings: The resolved recipe.

    Returns:
        The report; of a part, the run folder.

    Raises:
        DataError: No fact can be traced, or one may not be left out.
        MeasureError: The model cannot be traced in this way.
    """
    seed, out = int(str(settings["seed"])), Path(str(settings["out"]))
    prepared = prepare(loaded, read, plan.facts, plan.noise, plan.states, seed)
    with bench.opened(loaded, out, settings, KIND, FREE, REDOES) as study:
        if read.sha256:
            study.run.note_inputs({"facts": read.sha256})
        sharing = Sharing(source=plan.source, options=plan.engine, run=out)
        if sharing.is_part:
            work, inputs = work_of(loaded, prepared, plan)
            sharing.make(loaded, work, inputs)
            return out
        step = traces_step(study, prepared, plan, sharing)
        about = About(
            prepared=prepared, num_read=len(read.facts), facts=plan.facts,
            states=plan.states,
        )  # fmt: skip
        return conclude(study, step, load_traces(step), about)


def work_of(
    loaded: LoadedModel, prepared: Prepared, plan: TracePlan
) -> tuple[TraceWork, dict[str, object]]:
    """Say what a worker does, and all that its results depend on."""
    states = plan.states
    wanted = states.wanted
    how = HowTraced(
        kinds=tuple(k for k in wanted if not states.fast or k in PLAIN_KINDS),
        window=states.window,
        outcome=states.outcome,
        noise=prepared.noise,
        has_control=plan.noise.control,
        # One prompt is traced whatever the model thinks of its answer.
        traces_unknown=plan.facts.unknown == "trace" or plan.facts.prompt is not None,
        is_fast=states.fast,
        reads_lens=states.lens,
    )
    work = TraceWork(
        source=plan.source,
        facts=prepared.facts,
        how=how,
        text_ids=prepared.text_ids,
    )
    inputs = {
        "model": loaded.identity.sha256,
        "dtype": loaded.identity.dtype,
        "facts": prepared.sha256,
        "checked": [n for n, one in enumerate(prepared.facts) if one.is_checked],
        "how": asdict(how),
    }
    return work, inputs


def traces_step(
    study: bench.Study, prepared: Prepared, plan: TracePlan, sharing: Sharing
) -> StepOutcome:
    """Write `traces.json` and `traces.safetensors`: every fact, traced."""
    work, inputs = work_of(study.loaded, prepared, plan)

    def make(folder: Path) -> None:
        folders = sharing.make(study.loaded, work, inputs)
        found = FactTraces(
            outcome=work.how.outcome,
            noise=work.how.noise,
            traces=read_traces(folders),
        )
        save_apart(folder, TRACES, found, TRACES_KIND)

    step = study.run.step("traces", inputs, make)
    sharing.finish()
    return step


def load_traces(step: StepOutcome) -> FactTraces:
    """Read what `traces_step` wrote."""
    home = step.path(f"{TRACES}.json").parent
    return load_apart(home, TRACES, FactTraces, TRACES_KIND)
