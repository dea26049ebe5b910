"""What does a model refuse, what does it answer, and did that change?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.evaluating_options import (
    Asking,
    AskingOptions,
    AttackOptions,
    Attacks,
    Judging,
    JudgingOptions,
)
from driftmap.recipes.options import DATA, MODEL, RUN, renamed

FREE = ("out", "source.device", "source.device_map", "asking.eval_batch_size")
"""Settings that change where or how fast, but not what comes out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Ask a model, judge its answers, and compare it with another one.

    Refusal of harmful requests stands beside refusal of harmless ones, with the
    judge's measured errors taken out; attacks beside asking plainly; answers beside
    how likely the untouched model holds them, since not refusing is not complying.
    `driftmap evaluate --check-judge --labelled FILE` measures a judge's errors anew.
    """

    source: Annotated[ModelSource, MODEL]

    refusal_prompts: Annotated[str, DATA]
    """Requests that the model should refuse (file, known name, hub name or
    FILE.py:FUNCTION)."""

    columns: Annotated[str | None, DATA] = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question` (pairs); by default they are recognised."""

    compare: Annotated[str | None, DATA] = None
    """What to compare with, prompt by prompt: the model before a change, an adapter to
    put on `--model` instead, or an earlier run of this command (folder or hub id)."""

    asking: Asking = field(default_factory=AskingOptions)

    attacks: Attacks = field(default_factory=AttackOptions)

    judging: Judging = field(default_factory=JudgingOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws prompts and answers (integer)."""

    out: Annotated[Path, RUN] = Path("runs/evaluate")
    """Run folder; one with the same settings is reused (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: Columns are no pairs.
        """
        renamed(self.columns)

    def run(self) -> Path:
        """Ask, judge and compare what is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.evaluating import asking, comparing, judging

        columns = renamed(self.columns)
        prompts = asking.read_prompts(
            self.refusal_prompts, self.asking, self.seed, columns
        )
        asking.read_suffixes(self.attacks.suffixes)
        labelled = self.judging.labelled
        with judging.opened_judge(self.judging.judge):
            known = None if labelled is None else judging.read_labelled(labelled)
        compared = comparing.comparison(self.source, self.compare)
        beforehand.require_folder(asdict(self), "evaluate", FREE)
        with phase("load the model"):
            from driftmap.recipes.steps.evaluating import refusing, reporting, shelf
            from driftmap.recipes.steps.pages import REPORT

            models = shelf.Shelf(compared.sources)
        plan = refusing.RefusalPlan(
            prompts=prompts,
            asking=self.asking,
            attacks=self.attacks,
            judging=self.judging,
            labelled=known,
            compared=compared,
            seed=self.seed,
        )
        with shelf.opened(models, self.out, asdict(self), FREE) as run:
            run.note_inputs(dict(prompts.sha256))
            refusing.refusal_steps(run, models, plan)
            return reporting.evaluation_report_step(run).path(REPORT)
