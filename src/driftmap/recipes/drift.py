"""Do the weights that carry a behaviour drift more than comparable weights?"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.core.scratch import require_scratch
from driftmap.load.source import ModelSource
from driftmap.recipes import engine_options, options, required, trial
from driftmap.recipes.options import DATA, RUN
from driftmap.recipes.steps.together import in_several_processes
from driftmap.tune.settings import TuningSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Do the weights that carry a behaviour drift more than comparable weights?

    Scores every weight on samples of the behaviour and of ordinary ability, takes
    groups from the scores, fine-tunes with LoRA under several seeds, follows every
    group through the checkpoints, compares it with a control of equal size and
    magnitude, and writes a run folder with a report.
    """

    source: Annotated[ModelSource, options.MODEL]

    behaviour: Annotated[str | None, DATA] = None
    """Samples that show the behaviour: requests with the answers to look for, such as
    refusals (file, known name, hub name or FILE.py:FUNCTION); by default none, which
    takes `--groups` and `--refusal-prompts`."""

    utility: Annotated[str | None, DATA] = None
    """Samples of ordinary ability, for contrast; alike in kind (file, known name, hub
    name or FILE.py:FUNCTION); by default none, which takes `--groups` and
    `--held-out`."""

    tune_on: Annotated[str | None, DATA] = None
    """Samples to fine-tune on (file, known name, hub name or FILE.py:FUNCTION); by
    default none, which takes `--checkpoints`."""

    columns: Annotated[str | None, DATA] = None
    """Your files' columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    scoring: options.Scoring = field(default_factory=options.ScoringOptions)
    groups: options.Groups = field(default_factory=options.GroupOptions)
    lora: options.Tuning = field(default_factory=TuningSettings)
    freezing: options.Freezing = field(default_factory=options.FreezeOptions)
    evaluation: options.Evaluation = field(default_factory=options.EvaluationOptions)
    testing: options.Testing = field(default_factory=options.TestingOptions)
    elsewhere: options.Elsewhere = field(default_factory=options.ElsewhereOptions)
    output: options.Output = field(default_factory=options.OutputOptions)
    engine: engine_options.Engine = field(default_factory=engine_options.EngineOptions)

    seed: Annotated[int, RUN] = 0
    """The one seed of every draw: samples, groups, adapters, data order (integer)."""

    quick: Annotated[bool, RUN] = False
    """A trial: caps samples and steps, and gives no verdict (yes or no)."""

    out: Annotated[Path, RUN] = Path("runs/drift")
    """Run folder; one with the same settings is resumed (path)."""

    until: Annotated[options.Phase, RUN] = "report"
    """Last phase to run (phase); the same command with a later one goes on."""

    def __post_init__(self) -> None:
        """Refuse at once what would be refused after long work."""
        options.renamed(self.columns)
        named = (self.behaviour, self.utility, self.tune_on)
        required.require_study(self.source, named, self._plan(), self.engine)

    @in_several_processes
    def run(self) -> Path | str:
        """Run all phases that are not done yet.

        Returns:
            The report; with `until` the run folder, with `--print-slurm` the script.
        """
        from driftmap.recipes.steps import beforehand, rows, submitting

        if self.engine.print_slurm:
            return submitting.slurm_script(self, "drift", self.engine)
        recipe = trial.capped_recipe(self) if self.quick else self
        sources = rows.Sources(
            behaviour=self.behaviour,
            utility=self.utility,
            tune_on=self.tune_on,
            columns=options.renamed(self.columns),
        )
        require_scratch(self.output.scratch)
        runs = beforehand.found_elsewhere(self.elsewhere, self.lora)
        read = rows.read_study(sources, recipe.scoring, recipe.evaluation, self.seed)
        if self.quick and read.learnt is not None:
            lora = trial.trial_lora(self.lora, len(read.learnt.samples))
            recipe = replace(recipe, lora=lora)
        beforehand.require_folder(asdict(recipe), "drift", options.MAY_CHANGE)
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.scoring import shared_halves
            from driftmap.recipes.steps.studying import carry_out

            shared = shared_halves.planned_halves(self.source, self.engine, self.out)
            loaded = load_model(self.source)
        return carry_out(loaded, read, runs, recipe._plan(), asdict(recipe), shared)

    def _plan(self) -> options.StudyPlan:
        return options.StudyPlan(
            scoring=self.scoring,
            groups=self.groups,
            lora=self.lora,
            freezing=self.freezing,
            evaluation=self.evaluation,
            testing=self.testing,
            elsewhere=self.elsewhere,
            output=self.output,
            is_trial=self.quick,
            until=self.until,
        )
