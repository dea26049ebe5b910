"""What do a base and a tuned model say of facts that one of them was taught?"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from driftmap.core.progress import phase
from driftmap.core.shortage import explained
from driftmap.load.about import read_about
from driftmap.load.answers import room_after
from driftmap.load.model import LoadedModel
from driftmap.recipes.edit_measure_options import EditMeasureOptions
from driftmap.recipes.steps.comparing.behaviour.asking import asked_texts
from driftmap.recipes.steps.comparing.edit_files import (
    EDITS,
    KIND,
    STEP,
    TABLE,
    read_edits,
)
from driftmap.recipes.steps.comparing.edit_missing import missing_measures
from driftmap.recipes.steps.comparing.edit_questions import (
    edit_questions,
    encoded_questions,
)
from driftmap.recipes.steps.comparing.edit_readings import (
    Asked,
    both_losses,
    essence_texts,
    one_model,
    paired_next,
)
from driftmap.recipes.steps.comparing.pair import Pair
from driftmap.results.edits import (
    NO_CONTEXT,
    EditContext,
    EditMeasureName,
    EditReport,
)
from driftmap.results.facts import Fact
from driftmap.results.plain import to_plain
from driftmap.results.statistics import Interval
from driftmap.results.table import Table
from driftmap.stats.edits import (
    edit_measures,
    lens_means,
    point_measures,
    shift_measures,
)
from driftmap.store.arrays_apart import save_apart
from driftmap.store.plain import sorted_json
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import save_table

__all__ = ["check_edits", "edit_context", "edit_point", "edits_step", "read_edits"]

_SPEED = ("fact_batch_size",)
"""Options that change how fast, but not what comes out."""


def edit_context(
    options: EditMeasureOptions,
    others: Sequence[Fact] = (),
    texts: Sequence[str] = (),
    *,
    is_taught: bool = True,
) -> EditContext:
    """Gather what is asked beside the taught facts; no model is needed yet.

    Args:
        options: May name a file of texts about subjects.
        others: Facts that were not taught; those without an answer are not asked.
        texts: Running texts that have nothing to do with them.
        is_taught: The new answers were taught, as far as is known.

    Raises:
        DataError: The file is missing or broken.
    """
    context = EditContext(
        others=tuple(others),
        texts=tuple(texts),
        about=() if options.about is None else read_about(options.about),
        is_taught=is_taught,
    )
    return replace(context, sha256=_sha256(asdict(context)))


def check_edits(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    options: EditMeasureOptions,
    context: EditContext = NO_CONTEXT,
    seed: int = 0,
) -> None:
    """Refuse before any long work what `edits_step` would refuse after it.

    Raises:
        DataError: As `edits_step`.
    """
    essence_texts(loaded, _asked(loaded, facts, options, context, seed))


def edits_step(
    pair: Pair,
    facts: Sequence[Fact],
    options: EditMeasureOptions,
    context: EditContext = NO_CONTEXT,
) -> StepOutcome:
    """Ask both models about taught facts and what lies beside them.

    Args:
        pair: Both models.
        facts: `answer` is true and `foil` is what was taught; facts without a foil
            are taken as facts that were not taught.
        options: How much is asked.
        context: Other facts and texts, from `edit_context`.

    Raises:
        DataError: No fact has both answers, a prompt's tokens change when an answer
            follows it, or a prompt is too long for the model.
    """
    study = pair.study

    def make(folder: Path) -> None:
        asked = _asked(pair.base, facts, options, context, study.seed)
        with (
            phase("ask both models about facts"),
            explained("asking about facts", "repeat with a smaller --fact-batch-size"),
        ):
            report = _measured(_read(pair, asked), study.seed)
        save_apart(folder, EDITS, report, KIND)
        save_table(folder / TABLE, _table(report))

    settled = {k: v for k, v in asdict(options).items() if k not in _SPEED}
    inputs = {
        **pair.inputs,
        "facts": _sha256([asdict(fact) for fact in facts]),
        "context": context.sha256,
        "options": settled,
        "seed": study.seed,
    }
    return study.run.step(STEP, inputs, make)


def edit_point(
    loaded: LoadedModel, facts: Sequence[Fact], seed: int, batch_size: int = 16
) -> Mapping[EditMeasureName, Interval]:
    """Read one model alone, for curves over checkpoints.

    Args:
        loaded: The model, such as `pair.at(step)`.
        facts: As for `edits_step`.
        seed: The run's seed.
        batch_size: Prompts per forward pass.

    Returns:
        Efficacy, paraphrase, neighbourhood and score, those that there is data for,
        with 95 % intervals over facts; the NLL of both answers, too.
    """
    alone = EditMeasureOptions(num_written=0, num_unrelated=0)
    questions = edit_questions(facts, alone, NO_CONTEXT, seed)
    encoded = encoded_questions(loaded, questions)
    nll_true, nll_new = both_losses(loaded, encoded, batch_size)
    return point_measures(questions.prompts, nll_true, nll_new, seed)


def _asked(
    loaded: LoadedModel,
    facts: Sequence[Fact],
    options: EditMeasureOptions,
    context: EditContext,
    seed: int,
) -> Asked:
    questions = edit_questions(facts, options, context, seed)
    encoded = encoded_questions(loaded, questions)
    most = options.written_tokens
    if encoded.writing:
        most = room_after(encoded.writing, most, loaded.context_length)
    return Asked(
        questions=questions,
        encoded=encoded,
        options=options,
        texts=asked_texts(loaded, context.texts, Counter()),
        context=context,
        max_new_tokens=most,
    )


def _read(pair: Pair, asked: Asked) -> EditReport:
    """All readings; nothing is averaged yet."""
    first, shifts = paired_next(pair.base, pair.tuned, asked)
    before = one_model(pair.base, asked, None if first is None else first.before)
    after = one_model(pair.tuned, asked, None if first is None else first.after)
    questions, apart = asked.questions, asked.encoded.apart
    report = EditReport(
        base=pair.base.identity,
        tuned=pair.tuned.identity,
        facts=questions.facts,
        prompts=questions.prompts,
        known=questions.known,
        writing=questions.writing,
        text_names=tuple(one.name for one in asked.texts),
        consistency_facts=asked.consistency_facts,
        essence_facts=asked.essence_facts,
        before=before,
        after=after,
        shifts=shifts,
        measures=(),
        shift_measures=(),
        lens_means=(),
        missing=missing_measures(asked),
        num_duplicates=questions.num_duplicates,
        num_taught_elsewhere=questions.num_taught_elsewhere,
        num_same_first=len(questions.facts) - len(apart),
        max_new_tokens=asked.max_new_tokens,
        is_taught=asked.context.is_taught,
        is_identical=False,
    )
    return replace(report, is_identical=is_identical(report))


def _measured(report: EditReport, seed: int) -> EditReport:
    return replace(
        report,
        measures=edit_measures(report, seed),
        shift_measures=shift_measures(report, seed),
        lens_means=lens_means(report, seed),
    )


def is_identical(report: EditReport) -> bool:
    """Whether no distribution, loss or text of the two models differs."""
    before, after = report.before, report.after
    losses = zip(
        (before.nll_true, before.nll_new, before.known_p, before.text_surprise),
        (after.nll_true, after.nll_new, after.known_p, after.text_surprise),
        strict=True,
    )
    same = all(np.array_equal(one, other) for one, other in losses)
    still = not any(shift.js.any() for shift in report.shifts)
    texts = [None if s.written is None else s.written.texts for s in (before, after)]
    return same and still and texts[0] == texts[1]


def _table(report: EditReport) -> Table:
    """One row per prompt at which both answers are weighed, for other programs."""
    prompts = report.prompts
    columns = {
        "fact": np.array([report.facts[one.fact].id for one in prompts]),
        "kind": np.array([one.kind for one in prompts]),
        "prompt": np.array([one.text for one in prompts]),
    }
    for name, side in (("before", report.before), ("after", report.after)):
        columns[f"nll_true_nats_{name}"] = side.nll_true
        columns[f"nll_new_nats_{name}"] = side.nll_new
    return Table(columns=columns)


def _sha256(value: object) -> str:
    text = sorted_json({"value": to_plain(value)})
    return hashlib.sha256(text.encode()).hexdigest()
