"""Which experts of a mixture must change for a model to refuse?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import FREE as FREE_ENGINE
from driftmap.recipes.engine_options import Engine, EngineOptions
from driftmap.recipes.expert_options import (
    FREE,
    REDOES,
    Checks,
    ExpertCheckOptions,
    ExpertKeptOptions,
    ExpertTuningOptions,
    Identify,
    IdentifyOptions,
    ItemOptions,
    Items,
    Kept,
    Tune,
)
from driftmap.recipes.options import DATA, MODEL, RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """Which experts of a mixture must change for a model to refuse?

    Takes requests that the model answers and should refuse. In rounds it ranks experts,
    by gradient or by routing, tunes exactly the best of them towards a refusal, and
    aligns the routers to where the plain requests were sent before. Then it asks
    whether to believe it: the same tuning of random experts of like traffic, experts
    taken away, old and new parts exchanged, what harmless requests pay. Changed experts
    are kept as slices that `driftmap slices` applies, reverts and merges.

    `--workers`, `--engine` and `--partition` share out the samples that the first
    choice of experts is read from; what follows tunes one model, in this process.
    """

    source: Annotated[ModelSource, MODEL]

    data: Annotated[str, DATA, Parameter(name=("--data", "--dataset-path"))]
    """Requests to refuse: rows with `all_prompt`, the conversation, and `goal`, the
    plain request inside it; `response` and `output`, a refusal and the unsafe answer,
    where known (file or hub name)."""

    items: Items = field(default_factory=ItemOptions)

    identify: Identify = field(default_factory=IdentifyOptions)

    tune: Tune = field(default_factory=ExpertTuningOptions)

    checks: Checks = field(default_factory=ExpertCheckOptions)

    kept: Kept = field(default_factory=ExpertKeptOptions)

    engine: Engine = field(default_factory=EngineOptions)

    seed: Annotated[int, RUN] = 0
    """The one seed behind every draw: order, resamples, random experts (integer)."""

    out: Annotated[Path, RUN, Parameter(name=("--out", "--output-dir"))] = Path(
        "runs/experts"
    )
    """Run folder; one with the same settings is resumed (path)."""

    def run(self) -> Path | str:
        """Do all that is not done yet.

        Returns:
            The report; of a part the run folder, with `--print-slurm` the script.
        """
        from driftmap.recipes.steps import beforehand, submitting
        from driftmap.recipes.steps.experts.reading import read_all

        if self.engine.print_slurm:
            return submitting.slurm_script(self, "experts", self.engine)
        read = read_all(self.data, self.items, self.identify, self.tune)
        free = (*FREE, *FREE_ENGINE, *REDOES)
        beforehand.require_folder(asdict(self), "experts", free)
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.experts import carrying, sharing

            shared = sharing.planned_experts(self.source, self.engine, self.out)
            loaded = load_model(self.source)
        plan = carrying.ExpertPlan(
            items=self.items,
            identify=self.identify,
            tune=self.tune,
            checks=self.checks,
            kept=self.kept,
        )
        return carrying.carry_out(loaded, read, plan, asdict(self), shared)
