"""What are sets of originals and their versions like, before anything is measured?"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from driftmap.results.samples import Sample

ORIGINALS = "original"
"""Name of the set that all versions are of."""

TextKind = Literal["prompt", "answer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """Length of one sample.

    Args:
        num_tokens: The whole text with its template.
        num_counted: Tokens whose loss counts.
    """

    num_tokens: int
    num_counted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOutSample:
    """A sample that is not compared, and why, in words."""

    sample_id: str
    set_name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SetsRead:
    """Samples as they were read, for whoever looks at them.

    Args:
        originals: The originals.
        queries: Versions of them.
        original: For every query the number of its original.
        sets: For every query the name of its set.
        original_tokens: Length of each original; empty where nobody encoded them.
        query_tokens: Length of each query; likewise.
        same: For every original a number that equal ones share; empty likewise.
        remarks: Query id -> what whoever made it said of it.
        left_out: Samples that are not compared.
    """

    originals: tuple[Sample, ...]
    queries: tuple[Sample, ...]
    original: tuple[int, ...]
    sets: tuple[str, ...]
    original_tokens: tuple[TokenCount, ...] = ()
    query_tokens: tuple[TokenCount, ...] = ()
    same: tuple[int, ...] = ()
    remarks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    left_out: tuple[LeftOutSample, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a figure is distributed over samples or pairs."""

    num: int
    mean: float
    low: float
    q25: float
    median: float
    q75: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLengths:
    """How long are the samples of one set?

    Args:
        set_name: Which; `original` for the originals.
        num_samples: Samples (count).
        num_originals: Different originals that they are versions of (count).
        tokens: Of the whole text; None where nobody encoded them.
        counted: Tokens whose loss counts; None likewise.
        prompt: What the user says (characters); None where there is no text.
        answer: The answer (characters); None where none has one.
    """

    set_name: str
    num_samples: int
    num_originals: int
    tokens: Spread | None
    counted: Spread | None
    prompt: Spread | None
    answer: Spread | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WordOverlap:
    """How many words do two versions of one sample share?

    A word is a run of letters and digits, in lower case, counted once.

    Args:
        first: Set that is compared with.
        second: Set whose texts are looked at.
        text: The prompt, or the answer.
        jaccard: Words that both have over words that either has, pair by pair.
        containment: Share of the second's words that the first has too.
        length_ratio: Characters of the second over those of the first.
        by_chance: Mean Jaccard of texts that do not belong together; None for a
            single pair.
        num_equal: Pairs equal but for case and space (count).
        counts: Pairs by tenths of Jaccard, from 0 to 1 (count).
    """

    first: str
    second: str
    text: TextKind
    jaccard: Spread
    containment: Spread
    length_ratio: Spread
    by_chance: float | None
    num_equal: int
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """What is known of one sample that is read with care."""

    sample_id: str
    set_name: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleText:
    """A sample as it is shown.

    Args:
        sample_id: Its id.
        set_name: Its set.
        prompt: What the user says.
        answer: The answer; empty where there is none.
        num_tokens: Length with the template; None where nobody encoded it.
    """

    sample_id: str
    set_name: str
    prompt: str
    answer: str
    num_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An original beside its versions.

    Args:
        why: Why this one is shown: `typical`, `least alike`, `most alike`.
        jaccard: Mean word overlap of the prompts of its versions with its own.
        texts: The original first.
    """

    why: str
    jaccard: float
    texts: tuple[SampleText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSets:
    """A page's worth on the sets.

    Args:
        lengths: Originals first, then each set of queries.
        overlaps: Between the originals and each set, and between sets.
        flagged: Samples that are compared, but with care.
        left_out: Samples that are not compared.
        duplicates: Ids of originals with equal tokens and labels, class by class.
        examples: Some originals with their versions.
    """

    lengths: tuple[SetLengths, ...]
    overlaps: tuple[WordOverlap, ...]
    flagged: tuple[Remark, ...]
    left_out: tuple[LeftOutSample, ...]
    duplicates: tuple[tuple[str, ...], ...]
    examples: tuple[Example, ...]
