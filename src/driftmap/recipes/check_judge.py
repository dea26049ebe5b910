"""How often does a judge of refusal err, against people?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.recipes.options import DATA, RUN, options
from driftmap.recipes.utility_options import EndpointOptions, Server


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckJudge:
    """Compare judges of refusal with people's labels.

    Every built-in list of phrases judges the labelled answers, and the judge that
    `--judge` names beside them. What they say is printed as a table, and kept in the
    run folder.
    """

    labelled: Annotated[str, DATA]
    """Answers that people have judged: columns prompt, completion and final_label, as
    XSTest publishes them (file or hub name)."""

    judge: Annotated[str | None, options("Evaluation", 6)] = None
    """Who judges beside the built-in lists: `endpoint`, the model behind `--endpoint`,
    or FILE.py:FUNCTION, a function of prompt and answer that returns refusal, partial
    or compliance (judge)."""

    server: Server = field(default_factory=EndpointOptions)

    out: Annotated[Path, RUN] = Path("runs/check-judge")
    """Run folder; one with the same settings is reused (path)."""

    def __post_init__(self) -> None:
        """Refuse a server that nothing is asked of.

        Raises:
            UsageError: It is given without `--judge endpoint`.
        """
        self.server.require_use(self.judge or "")

    def run(self) -> str:
        """Judge what is not judged yet.

        Returns:
            The report as text, and where it lies.
        """
        from driftmap.recipes.steps.evaluating.checking import (
            KIND,
            check_step,
        )
        from driftmap.recipes.steps.evaluating.judging import read_labelled
        from driftmap.recipes.steps.logbook import logged
        from driftmap.recipes.steps.pages import REPORT
        from driftmap.recipes.steps.reports import report_step
        from driftmap.store.run_dir import RunDir

        labelled = read_labelled(self.labelled)
        with (
            RunDir.open(self.out, asdict(self), KIND, free=("out",)) as run,
            logged(self.out, KIND),
        ):
            run.note_inputs({"labelled": labelled.sha256})
            check_step(run, labelled, self.judge, self.server)
            report = report_step(run)
            text = report.path("report.txt").read_text(encoding="utf-8")
            return f"{text}\n{report.path(REPORT)}"
