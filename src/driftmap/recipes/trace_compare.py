"""Do wordings of one fact use the same layers, and do different facts differ?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import Engine, EngineOptions
from driftmap.recipes.options import MODEL, RUN
from driftmap.recipes.trace_compare_options import (
    CompareOptions,
    Comparing,
    PromptOptions,
    Prompts,
)
from driftmap.recipes.trace_options import FREE, Corrupting, NoiseOptions

REDOES = {"comparing.show": ("findings", "report")}
"""Settings that may change within a run, and the steps that are then done again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceCompare:
    """Compare traces: do wordings of one fact use the same layers?

    Every prompt is traced; what its layers do at one row, in units of the total effect,
    is its profile. Pairs of wordings of one fact, of facts of one subject, of facts of
    one relation, and of a fact and its reversal are compared with pairs that share
    nothing: how often they are more alike (AUC), with an interval over subjects, what
    chance gives, and the ceiling that other noise sets.
    """

    source: Annotated[ModelSource, MODEL]

    prompts: Prompts = field(default_factory=PromptOptions)

    comparing: Comparing = field(default_factory=CompareOptions)

    noise: Corrupting = field(default_factory=NoiseOptions)

    engine: Engine = field(default_factory=EngineOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws facts, partners, relabellings and resamples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/trace-compare")
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: No prompt is named, the run is to be cut into parts, or noise
                is to have no control.
        """
        self.prompts.require_source()
        if self.engine.part is not None or self.engine.print_slurm:
            raise UsageError(
                "a comparison is not cut into parts: leave out --partition and "
                "--print-slurm; --workers shares the prompts out"
            )
        if not self.noise.control:
            raise UsageError("--no-control: a comparison has no control; leave it out")

    def run(self) -> Path:
        """Trace and compare what is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.comparing_traces.reading import read_compared

        read = read_compared(self.prompts, self.seed)
        beforehand.require_folder(asdict(self), "trace-compare", (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.comparing_traces import carrying
            from driftmap.recipes.steps.sharing_out import source_here

            loaded = load_model(source_here(self.source, self.engine))
        plan = carrying.ComparePlan(
            source=self.source,
            prompts=self.prompts,
            comparing=self.comparing,
            noise=self.noise,
            engine=self.engine,
            redoes=REDOES,
        )
        return carrying.carry_out(loaded, read, plan, asdict(self))
