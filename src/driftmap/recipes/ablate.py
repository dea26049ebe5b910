"""What does a model do without some of its weights, and what without any others?"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes import options, trial
from driftmap.recipes.ablation_options import (
    ABLATION,
    AblationOptions,
    require_ablation_sources,
)
from driftmap.recipes.options import DATA, RUN


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablate:
    """What does a model do without some of its weights, and what without any others?

    Takes a group of weights, attention heads or output directions away, or gives them
    other values, a growing share at a time; asks the model what it refuses and what it
    gets right each time; does the same with controls that are alike in number and size;
    and writes a run folder with dose curves, intervals and a report. Unstructured zeros
    make nothing smaller or faster.
    """

    source: Annotated[ModelSource, options.MODEL]

    behaviour: Annotated[str | None, DATA] = None
    """Samples that show the behaviour: requests with the answers to look for, such as
    refusals (file, known name, hub name or FILE.py:FUNCTION); by default none, which
    takes `--group` and `--refusal-prompts`."""

    utility: Annotated[str | None, DATA] = None
    """Samples of ordinary ability, for contrast; alike in kind (file, known name, hub
    name or FILE.py:FUNCTION); by default none, which takes `--group` and
    `--held-out`."""

    columns: Annotated[str | None, DATA] = None
    """Your files' columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    ablation: Annotated[AblationOptions, ABLATION] = field(
        default_factory=AblationOptions
    )

    scoring: options.Scoring = field(default_factory=options.ScoringOptions)

    groups: options.Groups = field(default_factory=options.GroupOptions)

    evaluation: options.Evaluation = field(default_factory=options.EvaluationOptions)

    seed: Annotated[int, RUN] = 0
    """The one seed behind every draw: samples, controls, what goes first (integer)."""

    quick: Annotated[bool, RUN] = False
    """A trial: caps samples and answers (yes or no)."""

    out: Annotated[Path, RUN] = Path("runs/ablate")
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse at once what would be refused after long work."""
        options.renamed(self.columns)
        require_ablation_sources(
            self.ablation,
            (self.behaviour, self.utility),
            (self.evaluation.refusal_prompts, self.evaluation.held_out),
            self.source.adapter,
        )

    def run(self) -> Path:
        """Do all that is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand, rows
        from driftmap.recipes.steps.ablating.beforehand import (
            ABLATION_FREE,
            KIND,
            require_ablation,
        )

        recipe = self
        if self.quick:
            scoring, evaluation = trial.capped(self.scoring, self.evaluation)
            recipe = replace(self, scoring=scoring, evaluation=evaluation)
        sources = rows.Sources(
            behaviour=self.behaviour,
            utility=self.utility,
            columns=options.renamed(self.columns),
        )
        require_ablation(self.ablation)
        read = rows.read_study(sources, recipe.scoring, recipe.evaluation, self.seed)
        beforehand.require_folder(asdict(recipe), KIND, ABLATION_FREE)
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps.ablating import carrying

            loaded = load_model(self.source)
        plan = carrying.AblationPlan(
            ablation=recipe.ablation,
            scoring=recipe.scoring,
            groups=recipe.groups,
            evaluation=recipe.evaluation,
        )
        return carrying.carry_out(loaded, read, plan, asdict(recipe))
