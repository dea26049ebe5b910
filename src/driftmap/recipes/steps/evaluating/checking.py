"""How often do judges and people disagree?"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from driftmap.evaluate.judges import PHRASE_JUDGES, PhraseJudge, confusion
from driftmap.recipes.steps.evaluating.judging import (
    Labelled,
    NamedJudge,
    opened_judge,
)
from driftmap.recipes.steps.pages import Drawing
from driftmap.recipes.utility_options import EndpointOptions
from driftmap.render.judges_page import judges_page
from driftmap.render.page import Page
from driftmap.results.evaluation import JudgeCheck
from driftmap.results.plain import from_plain, to_plain
from driftmap.store.plain import load_json, save_json
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

KIND = "check-judge"
"""What a run that checks judges is called in its `run.yaml`."""

CHECK_KIND = "driftmap.judge_check"
CHECK_FILE = "judges.json"


def check_step(
    run: RunDir, labelled: Labelled, named: str | None, server: EndpointOptions
) -> StepOutcome:
    """Compare every built-in judge with people, and the one that is named.

    Args:
        run: The run.
        labelled: What people say.
        named: A further judge, as `--judge` names it.
        server: Where it is, if it is behind a server.
    """
    with ExitStack() as stack:
        judges = [NamedJudge(judge=judge, key=judge.name) for judge in PHRASE_JUDGES]
        if named is not None:
            further = stack.enter_context(opened_judge(named, server))
            judges += [] if further.key in {j.key for j in judges} else [further]

        def make(folder: Path) -> None:
            check = _checked(labelled, judges)
            save_json(folder / CHECK_FILE, to_plain(check), CHECK_KIND)

        inputs = {"labelled": labelled.sha256, "judges": [j.key for j in judges]}
        return run.step("check", inputs, make)


def check_report(run: RunDir) -> Drawing:
    """What the page on a check of judges is drawn from."""
    checked = run.require("check")

    def page() -> Page:
        plain = load_json(checked.path(CHECK_FILE), CHECK_KIND)
        return judges_page(from_plain(JudgeCheck, plain))

    return Drawing(of=(checked,), page=page)


def _checked(labelled: Labelled, judges: Sequence[NamedJudge]) -> JudgeCheck:
    found = {}
    for one in judges:
        found[one.judge.name] = confusion(one.judge, labelled.exchanges, labelled.truth)
    return JudgeCheck(
        labelled=labelled.source,
        sha256=labelled.sha256,
        judges=found,
        sources={
            one.judge.name: "; ".join(p.source for p in one.judge.lists)
            for one in judges
            if isinstance(one.judge, PhraseJudge)
        },
    )
