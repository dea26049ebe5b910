"""Which rows does a study read? All of them are read before a model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.seeds import child_seed
from driftmap.load.formats.pretokenised import MASKED
from driftmap.load.samples import read_samples
from driftmap.recipes.options import EvaluationOptions, ScoringOptions
from driftmap.results.samples import Sample

_FEW = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Rows of one source.

    Args:
        name: What the report calls them.
        samples: The rows that are used.
        sha256: Hash of the whole source.
        num_shared: How many rows that are asked have a prompt that is scored or learnt.
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

    def sources(self) -> dict[str, str]:
        """Hash of every source, by what it is for."""
        return {
            "behaviour": self.behaviour.sha256,
            "utility": self.utility.sha256,
            "tune_on": self.learnt.sha256,
            "refusal_prompts": self.to_refuse.sha256,
            **{f"held_out: {rows.name}": rows.sha256 for rows in self.held_out},
        }


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
    behaviour = drawn(sources[0], scoring.num_samples, seed)
    utility = drawn(sources[1], scoring.num_samples, seed)
    learnt = drawn(sources[2], None, seed)
    used = {
        _prompt(sample)
        for rows in (behaviour, utility, learnt)
        for sample in rows.samples
    }
    return StudyRows(
        behaviour=behaviour,
        utility=utility,
        learnt=learnt,
        to_refuse=_compared(_asked(sources[0], asked, drawing), used),
        held_out=tuple(_compared(rows, used) for rows in held_out),
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
    left = tuple(sample for sample in whole.samples if sample.id not in ids)
    if not left:
        say(
            f"{scored}: scoring draws all {len(seen)} rows, so the same rows are "
            "evaluated; name others with --refusal-prompts and --held-out"
        )
    elif len(left) < min(count, _FEW):
        say(
            f"{scored}: scoring leaves {len(left)} rows to evaluate, which tell "
            "little; name others with --refusal-prompts and --held-out"
        )
    rows = _some(left or seen, count, child_seed(seed, "evaluation"))
    return Rows(name=_title(scored), samples=rows, sha256=whole.sha256)


def _some(samples: tuple[Sample, ...], count: int, seed: int) -> tuple[Sample, ...]:
    """Draw samples, kept in their order."""
    if count >= len(samples):
        return samples
    drawn = np.random.default_rng(seed).choice(len(samples), count, replace=False)
    return tuple(samples[index] for index in sorted(drawn.tolist()))


def _compared(asked: Rows, used: set[tuple[object, ...]]) -> Rows:
    """Count the rows whose prompt the study has another use for."""
    return replace(
        asked, num_shared=sum(_prompt(sample) in used for sample in asked.samples)
    )


def _prompt(sample: Sample) -> tuple[object, ...]:
    """What is said before the response, whatever system text stands above it."""
    if sample.tokens is not None:
        labels = [label != MASKED for label in sample.tokens.labels]
        end = labels.index(True) if True in labels else len(labels)
        return sample.tokens.token_ids[:end]
    turns = [(m.role, m.content) for m in sample.messages if m.role != "system"]
    return tuple(turns[:-1] if turns and turns[-1][0] == "assistant" else turns)


def _title(source: str) -> str:
    return Path(source).stem or source


def _must_differ(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"two sets of --held-out are called {twice[0]!r}, so tables could not tell "
            "them apart; rename one of the files"
        )
