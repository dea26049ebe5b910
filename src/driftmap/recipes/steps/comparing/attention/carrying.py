"""In which order is it found out what two models look at?"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from driftmap.load.model import LoadedModel
from driftmap.load.training_runs import TrainingRun
from driftmap.recipes.attention_change_options import (
    FREE,
    AttentionChangeOptions,
    BothPromptOptions,
)
from driftmap.recipes.steps import bench
from driftmap.recipes.steps.comparing.attention.changes import attention_step
from driftmap.recipes.steps.comparing.pair import Pair, load_beside
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.tracing.reading import read_all
from driftmap.results.facts import Fact

KIND = "attention-tuned"


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedOfBoth:
    """What both models read.

    Args:
        facts: Those that were edited, or may have been.
        untouched: Those of other subjects; empty for the facts' neighbours.
        texts: Shown token by token.
        files: What a file holds -> its sha256.
    """

    facts: tuple[Fact, ...]
    untouched: tuple[Fact, ...]
    texts: tuple[str, ...]
    files: Mapping[str, str]


def read_asked(options: BothPromptOptions, seed: int) -> AskedOfBoth:
    """Read the files.

    Raises:
        DataError: A file cannot be used.
    """
    files: dict[str, str] = {}
    facts = untouched = ()
    if options.facts is not None:
        read = read_all(options.as_facts, seed)
        facts, files["facts"] = read.facts, read.sha256
    if options.untouched is not None:
        read = read_all(options.as_untouched, seed)
        untouched, files["untouched"] = read.facts, read.sha256
    return AskedOfBoth(
        facts=facts, untouched=untouched, texts=options.text, files=files
    )


def carry_out(
    loaded: LoadedModel,
    run: TrainingRun,
    asked: AskedOfBoth,
    options: AttentionChangeOptions,
    settings: Mapping[str, object],
) -> Path:
    """Do all steps that are not done yet.

    Args:
        loaded: The model before tuning.
        run: What was made of it.
        asked: What both read.
        options: What is read of them.
        settings: The resolved recipe.

    Returns:
        The report.

    Raises:
        DataError: A text cannot be read.
        ModelError: The two are not of one shape.
    """
    tuned = load_beside(loaded, run.last)
    out = Path(str(settings["out"]))
    with bench.opened(loaded, out, settings, KIND, FREE) as study:
        study.run.note_inputs({"tuned": tuned.identity.sha256, **asked.files})
        pair = Pair(study=study, run=run, tuned=tuned)
        attention_step(pair, asked.facts, asked.texts, options, asked.untouched)
        return report_step(study.run).path(REPORT)
