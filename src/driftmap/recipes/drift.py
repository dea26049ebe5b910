"""Do the weights that carry a behaviour drift more than comparable weights?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.options import (
    DATA,
    EVALUATION,
    FREE,
    GROUPS,
    MODEL,
    RUN,
    SCORING,
    TESTING,
    TUNING,
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
    TestingOptions,
    require_tunable,
)
from driftmap.tune.settings import LoraSettings

Phase = Literal["groups", "tune", "report"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Do the weights that carry a behaviour drift more than comparable weights?

    Scores every weight on samples of the behaviour and of ordinary ability, takes
    groups from the scores, fine-tunes with LoRA under several seeds, follows every
    group through the checkpoints, compares it with a control of equal size and
    magnitude, and writes a run folder with a report.
    """

    source: Annotated[ModelSource, MODEL]

    behaviour: Annotated[str, DATA]
    """Samples that show the behaviour: requests with the answers to look for, such as
    refusals (file or hub name)."""

    utility: Annotated[str, DATA]
    """Samples of ordinary ability, for contrast; alike in kind (file or hub name)."""

    tune_on: Annotated[str, DATA]
    """Samples to fine-tune on (file or hub name)."""

    scoring: Annotated[ScoringOptions, SCORING] = field(default_factory=ScoringOptions)
    groups: Annotated[GroupOptions, GROUPS] = field(default_factory=GroupOptions)
    lora: Annotated[LoraSettings, TUNING] = field(default_factory=LoraSettings)
    evaluation: Annotated[EvaluationOptions, EVALUATION] = field(
        default_factory=EvaluationOptions
    )
    testing: Annotated[TestingOptions, TESTING] = field(default_factory=TestingOptions)

    seed: Annotated[int, RUN] = 0
    """The one seed behind every draw: samples, groups, adapters, data order
    (integer)."""

    out: Annotated[Path, RUN] = Path("runs/drift")
    """Run folder; one with the same settings is resumed (path)."""

    until: Annotated[Phase, RUN] = "report"
    """Last phase to run (phase); the same command with a later one goes on from
    there."""

    def __post_init__(self) -> None:
        """Refuse at once what fine-tuning would refuse after long work."""
        require_tunable(self.source)

    def run(self) -> Path:
        """Run all phases that are not done yet.

        Returns:
            The report, or the run folder where `until` stops before it.
        """
        from driftmap.recipes.steps import rows

        sources = rows.Sources(
            behaviour=self.behaviour, utility=self.utility, tune_on=self.tune_on
        )
        read = rows.read_study(sources, self.scoring, self.evaluation, self.seed)
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps import (
                bench,
                concluding,
                data,
                grouping,
                reporting,
                tuning,
            )

            loaded = load_model(self.source)
        encoded = data.encode_study(loaded, read, self.scoring)
        assert encoded.scored is not None
        assert encoded.learnt is not None
        with bench.opened(loaded, self.out, asdict(self), "drift", FREE) as study:
            study.run.note_inputs(read.sources())
            mobile = tuning.mobile_sites(study, self.lora)
            chosen = grouping.group_step(
                study, encoded.scored, self.scoring, self.groups, mobile
            )
            if self.until == "groups":
                return study.run.path
            live = tuning.live_drift(study, chosen)
            runs = [
                tuning.tune_step(study, encoded.learnt, self.lora, live, number)
                for number in range(self.testing.seeds)
            ]
            if self.until == "tune":
                return study.run.path
            tuned = concluding.Tuned(groups=chosen, runs=runs, live=live)
            concluding.conclude(
                study, tuned, encoded.asked, self.evaluation, self.testing
            )
            return reporting.report_step(study.run).path(reporting.REPORT)
