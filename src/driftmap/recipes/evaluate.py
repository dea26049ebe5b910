"""What does a model refuse, what is it good for, and did that change?"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated

from driftmap.core.errors import UsageError
from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.evaluating_options import (
    FREE,
    Asking,
    AskingOptions,
    AttackOptions,
    Attacks,
    Judging,
    JudgingOptions,
)
from driftmap.recipes.options import DATA, MODEL, RUN, renamed
from driftmap.recipes.utility_options import (
    EndpointOptions,
    Server,
    Utility,
    UtilityOptions,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluate:
    """Ask a model, judge its answers, and compare it with another one.

    Refusal of harmful requests stands beside refusal of harmless ones, with the
    judge's measured errors taken out; attacks beside asking plainly; answers beside
    how likely the untouched model holds them, since not refusing is not complying.
    `driftmap evaluate --check-judge --labelled FILE` measures a judge's errors anew.
    """

    source: Annotated[ModelSource, MODEL]

    refusal_prompts: Annotated[str | None, DATA] = None
    """Requests that the model should refuse (file, known name, hub name or
    FILE.py:FUNCTION); by default only utility is evaluated."""

    columns: Annotated[str | None, DATA] = None
    """Your file's columns by the names that driftmap knows, as in
    `prompt=question` (pairs); by default they are recognised."""

    compare: Annotated[str | None, DATA] = None
    """What to compare with, prompt by prompt: the model before a change, an adapter to
    put on `--model` instead, or an earlier run of this command (folder or hub id); by
    default none."""

    asking: Asking = field(default_factory=AskingOptions)

    attacks: Attacks = field(default_factory=AttackOptions)

    judging: Judging = field(default_factory=JudgingOptions)

    utility: Utility = field(default_factory=UtilityOptions)

    server: Server = field(default_factory=EndpointOptions)

    seed: Annotated[int, RUN] = 0
    """Seed that draws prompts and answers (integer)."""

    out: Annotated[Path, RUN] = Path("runs/evaluate")
    """Run folder; one with the same settings is reused (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: Columns are no pairs, or options have nothing to work on.
        """
        renamed(self.columns)
        has_requests = self.refusal_prompts is not None
        self.utility.require_work(has_requests=has_requests)
        if has_requests:
            self.server.require_use(self.judging.judge)
        else:
            self._require_no_word_of_requests()

    def run(self) -> Path:
        """Ask, judge and compare what is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps import beforehand
        from driftmap.recipes.steps.evaluating import comparing, planning

        compared = comparing.comparison(self.source, self.compare)
        blocks = (self.asking, self.attacks, self.judging, self.server)
        prompts = (self.refusal_prompts, renamed(self.columns))
        refusal = planning.refusal_plan(prompts, blocks, compared, self.seed)
        useful = planning.useful_plan(self.utility, self.asking, compared)
        beforehand.require_folder(asdict(self), "evaluate", FREE)
        with phase("load the model"):
            from driftmap.recipes.steps.evaluating import shelf
            from driftmap.recipes.steps.pages import REPORT
            from driftmap.recipes.steps.reports import report_step

            models = shelf.Shelf(compared.sources)
        with shelf.opened(models, self.out, asdict(self), FREE) as run:
            planning.carry_out(run, models, refusal, useful)
            return report_step(run).path(REPORT)

    def _require_no_word_of_requests(self) -> None:
        free = {name.rpartition(".")[2] for name in FREE}
        for block in (self.asking, self.attacks, self.judging, self.server):
            for option in fields(block):
                is_changed = getattr(block, option.name) != option.default
                if is_changed and option.name not in free:
                    raise UsageError(
                        f"--{option.name.replace('_', '-')}: there are no requests "
                        "that it could be about; name them with --refusal-prompts"
                    )
