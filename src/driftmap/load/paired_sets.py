"""Which original is behind each query, and do the sets fit together?

A query is another version of a sample: a paraphrase, or a model's own answer to one.
Its `original_id` says of which. Rows keep the `id`, `original_id` and `version` that
they carry. A row of the published LIMA sets holds its versions in columns of its own;
as a query such a set gives the version that it was made for.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.quoted import quoted
from driftmap.load.columns import AS_THEY_ARE
from driftmap.load.known_sets import VERSIONS_OF
from driftmap.load.own_ids import (
    ORIGINAL,
    Version,
    made_columns,
    read_versions,
)
from driftmap.load.samples import draw
from driftmap.results.samples import Sample

LossOn = Literal["answer", "all"]
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A sample that is not compared.

    Args:
        sample_id: Whose.
        set: `original`, or the name of the query's set.
        why: In words.
    """

    sample_id: str
    set: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedSets:
    """Originals, and versions of them.

    Args:
        originals: In file order, ids all different.
        queries: Set by set, each in file order, ids all different. Where two sets use
            one id, all ids are `SET/ID`.
        original: For every query the number of its original.
        sets: For every query the name of its set: its version, or the file's name
            where the file says nothing of versions.
        remarks: What whoever made a query said of it, by its id: `flagged: ...`,
            `incomplete`.
        dropped: What was left out, and why.
        sha256: Hash of each source, by `originals` and by the names of the sets.
    """

    originals: tuple[Sample, ...]
    queries: tuple[Sample, ...]
    original: tuple[int, ...]
    sets: tuple[str, ...]
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[Dropped, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def original_prompts(self) -> tuple[str, ...]:
        """What the user says in each original: the corpus of a text search."""
        return tuple(user_text(sample) for sample in self.originals)

    @property
    def query_prompts(self) -> tuple[str, ...]:
        """What the user says in each query."""
        return tuple(user_text(sample) for sample in self.queries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taking:
    """Which samples of the sets are taken.

    Args:
        num_samples: How many originals to draw, kept in file order; all by default.
        seed: Decides which.
        loss_on: `all` also takes conversations of several answers, and running text.
        columns: The files' columns by the names that shapes know.
    """

    num_samples: int | None = None
    seed: int = 0
    loss_on: LossOn = "answer"
    columns: Mapping[str, str] = field(default_factory=lambda: AS_THEY_ARE)


def read_pairs(
    originals: str, queries: Sequence[str] = (), taking: Taking | None = None
) -> PairedSets:
    """Read originals and versions of them, and find the original of each version.

    Args:
        originals: Any source of samples (see `driftmap.load.samples`).
        queries: One or more such sources; by default the versions that rows of
            `originals` hold in columns of their own, or those that belong to a known
            set.
        taking: Which samples are taken.

    Returns:
        The sets, joined.

    Raises:
        DataError: A source cannot be read, an id is there twice, a query names an
            original that is not there, a text is empty, the last turn is not the
            assistant's, or there are several answers.
    """
    taking = taking or Taking()
    found = read_versions(originals, None, taking.columns)
    _must_differ(originals, found.samples)
    _must_be_whole(originals, found.samples, taking.loss_on)
    versions = _versions(originals, queries, taking.columns)
    joined = _joined(originals, found, versions, taking)
    for why, count in Counter(one.why for one in joined.dropped).items():
        say(f"{count} samples are left out: {why}")
    return joined


def read_originals(source: str, taking: Taking | None = None) -> Version:
    """Read one set of samples under the ids that they carry, by their own turns.

    Args:
        source: Any source of samples (see `driftmap.load.samples`).
        taking: Which samples are taken.

    Raises:
        DataError: As `read_set` does.
    """
    taking = taking or Taking()
    return _taken(read_versions(source, None, taking.columns), taking)


def read_set(source: str, taking: Taking | None = None) -> Version:
    """Read one set of samples that keep the ids they carry; nothing is paired.

    Of rows that hold versions of theirs in columns of their own it takes the last
    version, what the set was made for.

    Args:
        source: Any source of samples (see `driftmap.load.samples`).
        taking: Which samples are taken.

    Raises:
        DataError: The source cannot be read, an id is there twice, a text is empty,
            the last turn is not the assistant's, or there are several answers.
    """
    taking = taking or Taking()
    return _taken(read_versions(source, "last", taking.columns), taking)


def _taken(found: Version, taking: Taking) -> Version:
    _must_differ(found.source, found.samples)
    _must_be_whole(found.source, found.samples, taking.loss_on)
    if taking.num_samples is None:
        return found
    if taking.num_samples < 1:
        raise DataError(f"{taking.num_samples} samples are asked for; ask for 1+")
    kept = draw(found.samples, taking.num_samples, taking.seed)
    return replace(found, samples=kept)


def user_text(sample: Sample) -> str:
    """What the user says in a sample, all turns of it; running text as it is."""
    said = [m.content for m in sample.messages if m.role in ("user", "text")]
    return "\n".join(said)


def _versions(
    originals: str, queries: Sequence[str], columns: Mapping[str, str]
) -> tuple[Version, ...]:
    asked = tuple(queries) or VERSIONS_OF.get(originals, ())
    if asked:
        return tuple(read_versions(source, "last", columns) for source in asked)
    made = made_columns(originals)
    if not made:
        raise DataError(
            f"{originals}: nothing says what to compare with it; name versions of its "
            "samples with --queries"
        )
    return tuple(read_versions(originals, column, columns) for column in made)


def _joined(
    source: str, found: Version, versions: Sequence[Version], taking: Taking
) -> PairedSets:
    kept = found.samples
    if taking.num_samples is not None:
        if taking.num_samples < 1:
            raise DataError(f"{taking.num_samples} originals are asked for; ask for 1+")
        kept = draw(kept, taking.num_samples, taking.seed)
    places = {sample.id: number for number, sample in enumerate(kept)}
    every = {sample.id for sample in found.samples}
    for version in versions:
        _must_differ(version.source, version.samples)
        _must_be_whole(version.source, version.samples, taking.loss_on)
        _must_have_originals(source, version, every)
    names = _set_names(versions)
    taken = [one for one in names if one[1].original_id in places]
    if not taken:
        raise DataError(f"{source}: no original that is drawn has a query; draw more")
    return PairedSets(
        originals=kept,
        queries=tuple(sample for _, sample, _ in taken),
        original=tuple(places[sample.original_id] for _, sample, _ in taken),
        sets=tuple(name for name, _, _ in taken),
        remarks={sample.id: remarks for _, sample, remarks in taken if remarks},
        dropped=tuple(
            Dropped(sample_id=s.id, set=name, why="their original was not drawn")
            for name, s, _ in names
            if s.original_id not in places
        ),
        sha256={"originals": found.sha256}
        | {name: digest for one in versions for name, digest in _hashes(one)},
    )


def _hashes(version: Version) -> Iterator[tuple[str, str]]:
    for name in sorted({_set_name(version, sample) for sample in version.samples}):
        yield name, version.sha256


def _set_name(version: Version, sample: Sample) -> str:
    return version.name if sample.version == ORIGINAL else sample.version


def _set_names(
    versions: Sequence[Version],
) -> list[tuple[str, Sample, tuple[str, ...]]]:
    """Set, sample and remarks of every query, ids made to differ across sets."""
    named = [
        (_set_name(version, sample), sample, version.remarks.get(sample.id, ()))
        for version in versions
        for sample in version.samples
    ]
    counts = Counter(sample.id for _, sample, _ in named)
    if max(counts.values()) == 1:
        return named
    longer = [
        (name, replace(sample, id=f"{name}/{sample.id}"), remarks)
        for name, sample, remarks in named
    ]
    twice = _twice(sample.id for _, sample, _ in longer)
    if twice:
        raise DataError(
            f"{twice[0]!r} is in two sets of queries of one version; give each version "
            "once, or other ids"
        )
    return longer


def _twice(ids: Iterator[str]) -> list[str]:
    return [one for one, count in Counter(ids).items() if count > 1]


def _must_differ(source: str, samples: Sequence[Sample]) -> None:
    twice = _twice(sample.id for sample in samples)
    if twice:
        raise DataError(
            f"{source}: {len(twice)} ids are there more than once ({_listed(twice)}); "
            "give every row an id of its own"
        )


def _must_have_originals(source: str, version: Version, every: set[str]) -> None:
    lost = [s for s in version.samples if s.original_id not in every]
    if not lost:
        return
    missing = list(dict.fromkeys(s.original_id for s in lost))
    raise DataError(
        f"{version.source}: {len(lost)} of {len(version.samples)} queries have no "
        f"original in {source} ({len(missing)} ids are missing there: "
        f"{_listed(missing)}); add those originals, correct `original_id`, or leave "
        "these rows out"
    )


def _must_be_whole(source: str, samples: Sequence[Sample], loss_on: LossOn) -> None:
    broken = [
        (sample.id, fault)
        for sample in samples
        if (fault := _fault(sample, loss_on)) is not None
    ]
    if not broken:
        return
    same = [sample_id for sample_id, fault in broken if fault == broken[0][1]]
    raise DataError(
        f"{source}: {len(broken)} of {len(samples)} rows cannot be compared; "
        f"{_listed(same)}: {broken[0][1]}"
    )


def _fault(sample: Sample, loss_on: LossOn) -> str | None:
    if sample.tokens is not None:
        return None
    turns = sample.messages
    if any(not turn.content.strip() for turn in turns):
        return "a text is empty; fill it in or leave the row out"
    if loss_on == "all":
        return None
    if not turns or turns[-1].role != "assistant":
        return (
            "the last turn is not the assistant's, so there is no answer whose loss "
            'could be taken; add one, or take the loss on "all"'
        )
    if sum(turn.role == "assistant" for turn in turns) > 1:
        return (
            "several turns are the assistant's; keep one answer a row, or take the "
            'loss on "all"'
        )
    return None


def _listed(ids: Sequence[str]) -> str:
    shown = ", ".join(quoted(one) for one in ids[:_NAMED])
    return shown if len(ids) <= _NAMED else f"{shown}, ..."
