"""Which rows does a study read? All of them are read before a model is loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError, UsageError
from driftmap.core.progress import say
from driftmap.core.seeds import child_seed
from driftmap.load.columns import AS_THEY_ARE
from driftmap.load.formats.known import in_words
from driftmap.load.formats.pretokenised import MASKED
from driftmap.load.python_rows import python_source
from driftmap.load.samples import SampleSet, all_are_taken, draw, read_samples
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
class Sources:
    """Where the rows of a study come from, as the user named it.

    Args:
        behaviour: Samples of the behaviour.
        utility: Samples of ordinary ability.
        tune_on: Samples to fine-tune on.
        columns: The files' columns by the names that shapes know.
    """

    behaviour: str | None = None
    utility: str | None = None
    tune_on: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRows:
    """All rows of a study.

    Args:
        behaviour: Scored for the behaviour; None where no source is named.
        utility: Scored for ordinary ability; None where no source is named.
        learnt: Fine-tuned on; None where no source is named.
        to_refuse: Asked, to see whether the model refuses.
        held_out: Sets that the model should get right.
    """

    behaviour: Rows | None
    utility: Rows | None
    learnt: Rows | None
    to_refuse: Rows
    held_out: tuple[Rows, ...]

    def sources(self) -> dict[str, str]:
        """Hash of every source, by what it is for."""
        named = {
            "behaviour": self.behaviour,
            "utility": self.utility,
            "tune_on": self.learnt,
            "refusal_prompts": self.to_refuse,
            **{f"held_out: {rows.name}": rows for rows in self.held_out},
        }
        return {use: rows.sha256 for use, rows in named.items() if rows is not None}


def read_study(
    sources: Sources,
    scoring: ScoringOptions,
    evaluation: EvaluationOptions,
    seed: int,
) -> StudyRows:
    """Read every source of a study, each of them once.

    Args:
        sources: Behaviour, utility and what to tune on.
        scoring: How many rows are scored.
        evaluation: What is evaluated; rows that scoring left over where it names no
            source of its own.
        seed: Decides which rows are drawn.

    Raises:
        DataError: A source cannot be used, or two held-out sets have one name.
        UsageError: Nothing says what to evaluate, or no source has a column that
            `--columns` names.
    """
    reader = _Reader(sources.columns, seed)
    counts = (scoring.num_samples, evaluation.num_eval_samples)
    to_refuse = _asked(reader, sources.behaviour, evaluation.refusal_prompts, counts)
    held_out = [
        _asked(reader, sources.utility, own, counts)
        for own in evaluation.held_out or (None,)
    ]
    _must_differ([rows.name for rows in held_out])
    behaviour = reader.drawn_if_named(sources.behaviour, scoring.num_samples)
    utility = reader.drawn_if_named(sources.utility, scoring.num_samples)
    learnt = reader.drawn_if_named(sources.tune_on, None)
    reader.must_have_renamed()
    used = {
        _prompt(sample)
        for rows in (behaviour, utility, learnt)
        if rows is not None
        for sample in rows.samples
    }
    return StudyRows(
        behaviour=behaviour,
        utility=utility,
        learnt=learnt,
        to_refuse=_compared(to_refuse, used),
        held_out=tuple(_compared(rows, used) for rows in held_out),
    )


def drawn(
    source: str,
    num_samples: int | None,
    seed: int,
    columns: Mapping[str, str] = AS_THEY_ARE,
) -> Rows:
    """Draw rows of the one source of a command, all of them where no number is given.

    Raises:
        DataError: The source cannot be used.
        UsageError: It has none of the columns that `--columns` names.
    """
    reader = _Reader(columns, seed)
    rows = reader.drawn(source, num_samples)
    reader.must_have_renamed()
    return rows


class _Reader:
    """Reads each source once, and says once what there is to say about it."""

    def __init__(self, columns: Mapping[str, str], seed: int) -> None:
        self.seed = seed
        self._columns = columns
        self._whole: dict[str, SampleSet] = {}
        self._told: set[str] = set()

    def whole(self, source: str) -> SampleSet:
        if source not in self._whole:
            self._whole[source] = read_samples(source, columns=self._columns)
        return self._whole[source]

    def drawn(self, source: str, num_samples: int | None) -> Rows:
        whole = self.whole(source)
        samples = whole.samples
        if num_samples is not None:
            if num_samples > len(samples):
                self.say_once(all_are_taken(whole))
            samples = draw(samples, num_samples, self.seed)
        return Rows(name=_title(source), samples=samples, sha256=whole.sha256)

    def drawn_if_named(
        self, source: str | None, num_samples: int | None
    ) -> Rows | None:
        return None if source is None else self.drawn(source, num_samples)

    def say_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            say(message)

    def must_have_renamed(self) -> None:
        present = {c: None for w in self._whole.values() for c in w.columns}
        for name, own in self._columns.items():
            if own not in present:
                raise UsageError(
                    f"--columns {name}={own}: no column `{own}` is in "
                    f"{', '.join(self._whole)}; there are {in_words(tuple(present))}"
                )


def _asked(
    reader: _Reader, scored: str | None, own: str | None, counts: tuple[int, int]
) -> Rows:
    """Rows of a source of their own, or those that scoring left over."""
    num_scored, count = counts
    if own is not None:
        return reader.drawn(own, count)
    if scored is None:
        raise UsageError(
            "nothing says what to ask the model: give --behaviour or "
            "--refusal-prompts, and --utility or --held-out"
        )
    whole = reader.whole(scored)
    seen = draw(whole.samples, num_scored, reader.seed)
    ids = {sample.id for sample in seen}
    left = tuple(sample for sample in whole.samples if sample.id not in ids)
    if not left:
        reader.say_once(
            f"{scored}: scoring draws all {len(seen)} rows, so the same rows are "
            "evaluated; name others with --refusal-prompts and --held-out"
        )
    elif len(left) < min(count, _FEW):
        reader.say_once(
            f"{scored}: scoring leaves {len(left)} rows to evaluate, which tell "
            "little; name others with --refusal-prompts and --held-out"
        )
    rows = _some(left or seen, count, child_seed(reader.seed, "evaluation"))
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
    python = python_source(source)
    return (Path(source).stem or source) if python is None else python.name


def _must_differ(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"two sets of --held-out are called {twice[0]!r}, so tables could not tell "
            "them apart; rename one of the files"
        )
