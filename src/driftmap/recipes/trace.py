"""Where in a model is a fact read?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import Engine, EngineOptions
from driftmap.recipes.options import MODEL, RUN
from driftmap.recipes.trace_options import (
    FREE,
    REDOES,
    Corrupting,
    FactOptions,
    Facts,
    NoiseOptions,
    StateOptions,
    States,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Disturb a fact's subject, put single states back, and see which bring it back.

    Causal tracing: the embeddings of the subject are disturbed, so that the answer is
    lost; then the undisturbed state of one place (token, layer) is put back, place by
    place. One prompt, a file, or thousands of facts, whose effects are averaged by the
    role of the token, with intervals over subjects. `driftmap trace --compare` asks
    whether wordings of one fact use the same layers.
    """

    source: Annotated[ModelSource, MODEL]

    facts: Facts = field(default_factory=FactOptions)

    states: States = field(default_factory=StateOptions)

    noise: Corrupting = field(default_factory=NoiseOptions)

    engine: Engine = field(default_factory=EngineOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws facts, partners and resamples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/trace")
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: No fact is named, or one prompt lacks what a file has.
        """
        self.facts.require_source()
        is_single = self.facts.prompt is not None
        if is_single and self.noise.noise == "swap":
            raise UsageError(
                "--noise swap needs other subjects, and --prompt has one; give --facts"
            )
        if is_single and self.engine.is_shared:
            raise UsageError(
                "--prompt is one fact, so that there is nothing to share; leave out "
                "--workers, --engine and --partition"
            )
        needs_foil = self.states.outcome == "logit_difference"
        if is_single and needs_foil and self.facts.foil is None:
            raise UsageError("--outcome logit_difference needs a --foil")

    def run(self) -> Path | str:
        """Trace what is not traced yet.

        Returns:
            The report; of a part, the run folder; with `--print-slurm` the script.
        """
        from driftmap.recipes.steps import beforehand, submitting
        from driftmap.recipes.steps.tracing import reading

        if self.engine.print_slurm:
            return submitting.slurm_script(self, "trace", self.engine)
        read = reading.read_all(self.facts, self.seed)
        beforehand.require_folder(asdict(self), "trace", (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.sharing_out import source_here
            from driftmap.recipes.steps.tracing import carrying

            loaded = load_model(source_here(self.source, self.engine))
        plan = carrying.TracePlan(
            source=self.source,
            facts=self.facts,
            states=self.states,
            noise=self.noise,
            engine=self.engine,
        )
        return carrying.carry_out(loaded, read, plan, asdict(self))
