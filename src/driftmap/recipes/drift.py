"""Do the weights that carry a behaviour drift more than comparable weights?"""

from dataclasses import asdict, dataclass, field
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

FREE = (
    "until",
    "out",
    "source.device",
    "source.device_map",
    "scoring.score_batch_size",
    "scoring.memory",
    "evaluation.eval_batch_size",
)
"""Settings that change where, how far or how fast, but not what comes out."""


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
        from driftmap.load.model import load_model
        from driftmap.recipes.steps import (
            behaviour,
            bench,
            drifting,
            evaluation,
            grouping,
            inference,
            reporting,
            tuning,
        )

        loaded = load_model(self.source)
        data = bench.study_data(
            loaded,
            (self.behaviour, self.utility, self.tune_on),
            self.scoring,
            self.evaluation,
            self.seed,
        )
        with bench.opened(loaded, self.out, asdict(self), "drift", FREE) as study:
            mobile = tuning.mobile_sites(study, self.lora)
            chosen = grouping.group_step(
                study, data.scored, self.scoring, self.groups, mobile
            )
            if self.until == "groups":
                return study.run.path
            live = tuning.live_drift(study, chosen)
            tuned = [
                tuning.tune_step(study, data.learnt, self.lora, live, number)
                for number in range(self.testing.seeds)
            ]
            if self.until == "tune":
                return study.run.path
            drift = drifting.drift_step(study, tuned, live)
            judged = evaluation.all_steps(study, data.asked, self.evaluation, tuned)
            behaviour.behaviour_step(study, judged)
            findings = inference.Findings(
                groups=grouping.load_groups(chosen),
                tuned=tuned,
                drift=drift,
                behaviours=behaviour.behaviour_changes(judged, self.seed),
                num_shared=data.asked.num_shared,
            )
            inference.statistics_step(study, findings, self.testing)
            return reporting.report_step(study.run).path(reporting.REPORT)
