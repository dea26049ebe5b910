"""Do the weights that carry a behaviour drift more than comparable weights?"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from driftmap.load.source import ModelSource
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
    TestingOptions,
)
from driftmap.tune.settings import LoraSettings

Flat = Parameter(name="*")
Phase = Literal["groups", "tune", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Do the weights that carry a behaviour drift more than comparable weights?

    Scores every weight on samples of the behaviour and of ordinary ability, takes
    groups from the scores, fine-tunes with LoRA under several seeds, follows every
    group through the checkpoints, compares it with a control of equal size and
    magnitude, and writes a run folder with a report.
    """

    source: Annotated[ModelSource, Flat]

    behaviour: str
    """Samples that show the behaviour: requests with the answers to look for, such as
    refusals (file)."""

    utility: str
    """Samples of ordinary ability, for contrast; alike in kind (file)."""

    tune_on: str
    """Samples to fine-tune on (file)."""

    scoring: Annotated[ScoringOptions, Flat] = field(default_factory=ScoringOptions)
    groups: Annotated[GroupOptions, Flat] = field(default_factory=GroupOptions)
    lora: Annotated[LoraSettings, Flat] = field(default_factory=LoraSettings)
    evaluation: Annotated[EvaluationOptions, Flat] = field(
        default_factory=EvaluationOptions
    )
    testing: Annotated[TestingOptions, Flat] = field(default_factory=TestingOptions)

    seed: int = 0
    """The one seed behind every draw: samples, groups, adapters, data order
    (integer)."""

    out: Path = Path("runs/drift")
    """Run folder; a folder with the same settings is resumed (path)."""

    until: Phase = "report"
    """Last phase to run; the same command with a later one goes on from there."""

    def run(self) -> Path:
        """Run all phases that are not done yet.

        Returns:
            The report, or the run folder where `until` stops before it.
        """
        from driftmap.recipes.steps.drift_study import run_drift

        return run_drift(self)
