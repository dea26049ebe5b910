"""Which rows does a study read? All of them are read before a model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.load.samples import read_samples
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.results.samples import Sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one source.

    Args:
        name: What the report calls them.
        samples: The rows that are used.
        sha256: Hash of the whole source.
        num_shared: How many of them scoring has seen too; 0 for those it draws.
    """

    name: str
    samples: tuple[Sample, ...]
    sha256: str
    num_shared: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRows:
    """All rows of a study.

    Args:
        behaviour: Scored for the behaviour.
        utility: Scored for ordinary ability.
        learnt: Fine-tuned on.
        to_refuse: Asked, to see whether the model refuses.
        held_out: Sets that the model should get right.
    """

    behaviour: Rows
    utility: Rows
    learnt: Rows
    to_refuse: Rows
    held_out: tuple[Rows, ...]


def read_study(
    sources: tuple[str, str, str],
    scoring: ScoringOptions,
    evaluation: EvaluationOptions,
    seed: int,
) -> StudyRows:
    """Read every source of a study.

    Args:
        sources: Behaviour, utility and what to tune on, as the user named them.
        scoring: How many rows are scored.
        evaluation: What is evaluated; rows that scoring left over where it names no
            source of its own.
        seed: Decides which rows are drawn.

    Raises:
        DataError: A source cannot be used, or two held-out sets have one name.
    """
    drawing = (scoring.num_samples, evaluation.num_eval_samples, seed)
    asked = evaluation.refusal_prompts
    held_out = [
        _asked(sources[1], own, drawing) for own in evaluation.held_out or (None,)
    ]
    _must_differ([rows.name for rows in held_out])
    return StudyRows(
        behaviour=drawn(sources[0], scoring.num_samples, seed),
        utility=drawn(sources[1], scoring.num_samples, seed),
        learnt=drawn(sources[2], None, seed),
        to_refuse=_asked(sources[0], asked, drawing),
        held_out=tuple(held_out),
    )


def drawn(source: str, num_samples: int | None, seed: int) -> Rows:
    """Draw rows of one source, all of them where no number is given."""
    found = read_samples(source, num_samples=num_samples, seed=seed)
    return Rows(name=_title(source), samples=found.samples, sha256=found.sha256)


def _asked(scored: str, own: str | None, drawing: tuple[int, int, int]) -> Rows:
    """Rows of a source of their own, or those that scoring left over."""
    num_scored, count, seed = drawing
    if own is not None:
        return drawn(own, count, seed)
    whole = read_samples(scored)
    seen = read_samples(scored, num_samples=num_scored, seed=seed).samples
    ids = {sample.id for sample in seen}
    left = tuple(s for s in whole.samples if s.id not in ids)[:count]
    if not left:
        say(
            f"{scored}: scoring draws all {len(seen)} rows, so the same rows are "
            "evaluated; name others with --refusal-prompts and --held-out"
        )
    rows = left or seen[:count]
    return Rows(
        name=_title(scored),
        samples=rows,
        sha256=whole.sha256,
        num_shared=0 if left else len(rows),
    )


def _title(source: str) -> str:
    return Path(source).stem or source


def _must_differ(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"two sets of --held-out are called {twice[0]!r}, so tables could not tell "
            "them apart; rename one of the files"
        )
