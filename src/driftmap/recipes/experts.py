"""Which experts of a mixture must change for a model to refuse?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
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

    seed: Annotated[int, RUN] = 0
    """The one seed behind every draw: order, resamples, random experts (integer)."""

    out: Annotated[Path, RUN, Parameter(name=("--out", "--output-dir"))] = Path(
        "runs/experts"
    )
    """Run folder; one with the same settings is resumed (path)."""

    def run(self) -> Path:
        """Do all that is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.experts.reading import read_all

        read = read_all(self.data, self.items, self.identify, self.tune)
        beforehand.require_folder(asdict(self), "experts", (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.experts import carrying

            loaded = load_model(self.source)
        plan = carrying.ExpertPlan(
            items=self.items,
            identify=self.identify,
            tune=self.tune,
            checks=self.checks,
            kept=self.kept,
        )
        return carrying.carry_out(loaded, read, plan, asdict(self))
