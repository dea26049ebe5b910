"""How do one or several processes trace facts, and how does a killed one lose little?

A shard is one fact: a run that is cut off goes on at the next one, and parts of a run
may be cut anywhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from driftmap.capture.patching.noise import embedding_rows
from driftmap.engine.parts import Part
from driftmap.engine.work import Shard, ShardMaker
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.steps.sharing_out import SharedRun
from driftmap.recipes.steps.threads import threads_for
from driftmap.recipes.steps.tracing.one_fact import HowTraced, trace_fact
from driftmap.recipes.steps.tracing.preparing import PreparedFact
from driftmap.results.fact_traces import FactTrace
from driftmap.store.arrays_apart import load_apart, save_apart

FILE, KIND = "fact", "driftmap.fact_trace"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing(SharedRun):
    """Where facts are traced."""

    def make(
        self, loaded: LoadedModel, work: "TraceWork", inputs: Mapping[str, object]
    ) -> tuple[Path, ...]:
        """Trace all facts, or the part that is asked for.

        Args:
            loaded: The model.
            work: What a worker does.
            inputs: All that a fact's trace depends on, plain.

        Returns:
            Folders of the shards, in the order of the facts.

        Raises:
            UsageError: There are too few devices, or the part is empty.
            EngineError: Too many workers were lost.
        """
        part = Part(
            kind="trace",
            inputs=inputs,
            num_samples=len(work.facts),
            size=1,
            partition=self.options.part,
        )
        return self.make_shards(work, partial(Tracer, loaded, work), part)


def read_traces(folders: tuple[Path, ...]) -> tuple[FactTrace, ...]:
    """Read what shards hold, in the order of the facts."""
    return tuple(load_apart(folder, FILE, FactTrace, KIND) for folder in folders)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceWork:
    """What a worker does: it loads the model and traces facts.

    Args:
        source: The model.
        facts: All facts.
        how: How they are traced.
        text_ids: Tokens whose embeddings some noise is like.
    """

    source: ModelSource
    facts: tuple[PreparedFact, ...]
    how: HowTraced
    text_ids: tuple[int, ...]

    def open(self) -> ShardMaker:
        """Load the model."""
        return Tracer(load_model(self.source), self)


class Tracer:
    """Traces the facts of a shard.

    Args:
        loaded: The model.
        work: What is traced.
    """

    def __init__(self, loaded: LoadedModel, work: TraceWork) -> None:
        self._loaded = loaded
        self._work = work
        self._text = None
        if work.text_ids:
            self._text = embedding_rows(loaded.model, work.text_ids)

    def make(self, shard: Shard, folder: Path) -> None:
        """Write the trace of a shard's one fact."""
        assert shard.num_samples == 1, "a shard of a trace is one fact"
        work = self._work
        with threads_for(self._loaded.identity):
            traced = trace_fact(
                self._loaded, work.facts[shard.start], work.how, self._text
            )
        save_apart(folder, FILE, traced, KIND)
