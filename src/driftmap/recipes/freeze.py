"""Does freezing the weights of a behaviour keep it through fine-tuning?"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes import freezing_options, options, required, trial
from driftmap.recipes.freezing_options import (
    ComparingOptions,
    FreezePlan,
    FreezingOptions,
)
from driftmap.recipes.options import DATA, RUN
from driftmap.recipes.steps.together import in_several_processes
from driftmap.tune.settings import TuningSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """Does freezing the weights of a behaviour keep it through fine-tuning?

    Chooses the group of a behaviour, tunes with nothing, a part, or all of it frozen
    and with as much of a matched control frozen instead, under several seeds; asks
    each tuned model what it refuses and what it gets right; scores tuned models again
    to see whether the same weights still carry the behaviour; and writes a run folder
    with curves, overlaps, intervals and a report.
    """

    source: Annotated[ModelSource, options.MODEL]

    behaviour: Annotated[str, DATA]
    """Samples that show the behaviour: requests with the answers to look for, such as
    refusals (file, known name, hub name or FILE.py:FUNCTION)."""

    utility: Annotated[str, DATA]
    """Samples of ordinary ability, for contrast; alike in kind (file, known name, hub
    name or FILE.py:FUNCTION)."""

    tune_on: Annotated[str, DATA]
    """Samples to fine-tune on (file, known name, hub name or FILE.py:FUNCTION)."""

    columns: Annotated[str | None, DATA] = None
    """Your files' columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    scoring: options.Scoring = field(default_factory=options.ScoringOptions)
    groups: options.Groups = field(default_factory=options.GroupOptions)
    freezing: Annotated[FreezingOptions, freezing_options.FREEZING] = field(
        default_factory=FreezingOptions
    )
    tuning: options.Tuning = field(default_factory=TuningSettings)
    evaluation: options.Evaluation = field(default_factory=options.EvaluationOptions)
    comparing: Annotated[ComparingOptions, freezing_options.COMPARING] = field(
        default_factory=ComparingOptions
    )

    seed: Annotated[int, RUN] = 0
    """The one seed behind every draw: samples, controls, parts, adapters, data order
    (integer)."""

    quick: Annotated[bool, RUN] = False
    """A trial: caps samples and steps, and gives no verdict (yes or no)."""

    out: Annotated[Path, RUN] = Path("runs/freeze")
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse at once what would be refused after long work."""
        options.renamed(self.columns)
        required.require_tunable(self.source, is_tuned_elsewhere=False)
        required.require_contrast(
            self.scoring, self.groups, options.ElsewhereOptions(), keeps_scores=False
        )
        freezing_options.require_freezing(self.freezing, self.tuning, self.groups)

    @in_several_processes
    def run(self) -> Path:
        """Do all that is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand, rows
        from driftmap.recipes.steps.freezing.planning import FREEZE_FREE, KIND

        recipe = self
        if self.quick:
            scoring, evaluation = trial.capped(self.scoring, self.evaluation)
            recipe = replace(self, scoring=scoring, evaluation=evaluation)
        sources = rows.Sources(
            behaviour=self.behaviour,
            utility=self.utility,
            tune_on=self.tune_on,
            columns=options.renamed(self.columns),
        )
        read = rows.read_study(sources, recipe.scoring, recipe.evaluation, self.seed)
        if self.quick and read.learnt is not None:
            tuning = trial.trial_lora(self.tuning, len(read.learnt.samples))
            recipe = replace(recipe, tuning=tuning)
        beforehand.require_folder(asdict(recipe), KIND, FREEZE_FREE)
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.freezing import carrying

            loaded = load_model(self.source)
        return carrying.carry_out(loaded, read, recipe._plan(), asdict(recipe))

    def _plan(self) -> FreezePlan:
        return FreezePlan(
            scoring=self.scoring,
            groups=self.groups,
            freezing=self.freezing,
            tuning=self.tuning,
            evaluation=self.evaluation,
            comparing=self.comparing,
            is_trial=self.quick,
        )
