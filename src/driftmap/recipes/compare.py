"""What did this fine-tune change? Two models, every instrument, one report."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.core.progress import phase
from driftmap.recipes.compare_options import (
    FREE,
    CompareOptions,
    Loading,
    LoadingOptions,
    PartOptions,
    Parts,
    ProbeOptions,
    Probing,
    Sizes,
)
from driftmap.recipes.options import RUN


@dataclass(frozen=True, slots=True)
class Compare:
    """Compare a model with what was made of it, by every instrument, on one page.

    The page shows first how the two are built, then what moved in the weights, what
    the tuned model does otherwise on the same texts, facts and requests, where in the
    model that comes from, and what it looks at and reads on the way; of several
    checkpoints also when. A paragraph at its top is made from the numbers, and says
    too what cannot be told from chance. Both models are asked the same by the same
    code; the base is never changed.
    """

    base: str
    """The model before tuning (folder or hub id)."""

    tuned: tuple[str, ...]
    """What was made of it: an adapter, a whole model, a training folder with its
    checkpoints, or several checkpoints of one training (folders or hub ids)."""

    parts: Parts = field(default_factory=PartOptions, kw_only=True)

    probes: Probing = field(default_factory=ProbeOptions, kw_only=True)

    sizes: Sizes = field(default_factory=CompareOptions, kw_only=True)

    loading: Loading = field(default_factory=LoadingOptions, kw_only=True)

    seed: Annotated[int, RUN] = field(default=0, kw_only=True)
    """Seed that draws probes, noise and resamples (integer)."""

    out: Annotated[Path, RUN] = field(default=Path("runs/compare"), kw_only=True)
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse to compare with nothing.

        Raises:
            UsageError: No tuned model is named.
        """
        if not self.tuned:
            raise UsageError(
                "TUNED is missing: name an adapter, a whole model or a training folder "
                "after BASE"
            )

    def run(self) -> Path:
        """Compare what is not compared yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand

        beforehand.require_folder(asdict(self), "compare", FREE)
        with phase("find both models"):
            from driftmap.load.tuned import find_tuned
            from driftmap.recipes.steps.comparing import carrying, planning

            run = find_tuned(self.tuned)
        plan = planning.plan_of(
            self.base, run, (self.parts, self.probes, self.sizes), self.seed
        )
        return carrying.carry_out(plan, self.loading.source(self.base), asdict(self))
