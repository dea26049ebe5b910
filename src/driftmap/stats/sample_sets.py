"""How long are samples and their versions, and how many words do they share?

Whatever finds a paraphrase by its words alone needs nothing of a model. How far words
lead is therefore looked at before anything else is.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float64

from driftmap.results.sample_sets import (
    ORIGINALS,
    Example,
    Remark,
    SampleSets,
    SampleText,
    SetLengths,
    SetsRead,
    Spread,
    TextKind,
    TokenCount,
    WordOverlap,
)
from driftmap.results.samples import Sample

LONGEST = 4000
"""Characters that are kept of a text that is shown (count)."""
_BINS = 10
_WORD = re.compile(r"\w+")


def describe_sets(read: SetsRead, num_examples: int = 1) -> SampleSets:
    """Say what the sets are like.

    Args:
        read: The samples.
        num_examples: Originals shown of each kind: typical, least and most alike.

    Returns:
        Lengths, word overlap of every two sets, what is flagged, left out or there
        twice, and examples.
    """
    names = tuple(dict.fromkeys(read.sets))
    return SampleSets(
        lengths=(_originals(read), *(_queries(read, name) for name in names)),
        overlaps=tuple(_overlaps(read, (ORIGINALS, *names))),
        flagged=tuple(_flagged(read)),
        left_out=read.left_out,
        duplicates=_duplicates(read),
        examples=tuple(_examples(read, num_examples)),
    )


def words_of(text: str) -> frozenset[str]:
    """Runs of letters and digits, in lower case.

    >>> sorted(words_of("To be, or not to be"))
    ['be', 'not', 'or', 'to']
    """
    return frozenset(_WORD.findall(text.lower()))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Words that both have over words that either has; 1 for two without words.

    >>> jaccard(frozenset("ab"), frozenset("bc")), jaccard(frozenset(), frozenset())
    (0.3333333333333333, 1.0)
    """
    either = len(one | other)
    return len(one & other) / either if either else 1.0


def spread_of(values: Sequence[float]) -> Spread:
    """Mean, ends and quarters of some figures.

    >>> spread_of([1.0, 2.0, 3.0]).median
    2.0
    """
    numbers: Float64[np.ndarray, " _"] = np.asarray(values, dtype=np.float64)
    low, q25, median, q75, high = np.quantile(numbers, [0, 0.25, 0.5, 0.75, 1]).tolist()
    return Spread(
        num=numbers.size, mean=float(numbers.mean()), low=low, q25=q25, median=median,
        q75=q75, high=high,
    )  # fmt: skip


def _originals(read: SetsRead) -> SetLengths:
    num = len(read.originals)
    return _lengths(ORIGINALS, read.originals, read.original_tokens, num)


def _queries(read: SetsRead, name: str) -> SetLengths:
    chosen = [n for n, set_name in enumerate(read.sets) if set_name == name]
    tokens = tuple(read.query_tokens[n] for n in chosen) if read.query_tokens else ()
    originals = len({read.original[n] for n in chosen})
    return _lengths(name, tuple(read.queries[n] for n in chosen), tokens, originals)


def _lengths(
    name: str,
    samples: Sequence[Sample],
    tokens: Sequence[TokenCount],
    num_originals: int,
) -> SetLengths:
    texts = [sample for sample in samples if sample.messages]
    answers = [len(sample.response) for sample in texts if sample.response]
    prompts = [len(prompt_of(sample)) for sample in texts]
    return SetLengths(
        set_name=name,
        num_samples=len(samples),
        num_originals=num_originals,
        tokens=spread_of([t.num_tokens for t in tokens]) if tokens else None,
        counted=spread_of([t.num_counted for t in tokens]) if tokens else None,
        prompt=spread_of(prompts) if prompts else None,
        answer=spread_of(answers) if answers else None,
    )


def prompt_of(sample: Sample) -> str:
    """All that the user says in a sample; running text as it is."""
    said = [m.content for m in sample.messages if m.role in ("user", "text")]
    return "\n".join(said)


def _answer_of(sample: Sample) -> str:
    return sample.response


_SIDES: Mapping[TextKind, Callable[[Sample], str]] = {
    "prompt": prompt_of,
    "answer": _answer_of,
}


def _overlaps(read: SetsRead, names: Sequence[str]) -> Iterator[WordOverlap]:
    for first, second in combinations(names, 2):
        pairs = _pairs(read, first, second)
        for text, side in _SIDES.items():
            texts = [(side(one), side(other)) for one, other in pairs]
            filled = [(one, other) for one, other in texts if one and other]
            if filled:
                yield _overlap(first, second, text, filled)


def _pairs(read: SetsRead, first: str, second: str) -> list[tuple[Sample, Sample]]:
    """Samples of two sets that are versions of one original."""
    of_second = [
        (number, query)
        for number, query, name in zip(
            read.original, read.queries, read.sets, strict=True
        )
        if name == second
    ]
    if first == ORIGINALS:
        return [(read.originals[number], query) for number, query in of_second]
    of_first: dict[int, list[Sample]] = {}
    for number, query, name in zip(read.original, read.queries, read.sets, strict=True):
        if name == first:
            of_first.setdefault(number, []).append(query)
    return [(one, query) for n, query in of_second for one in of_first.get(n, [])]


def _overlap(
    first: str, second: str, text: TextKind, texts: Sequence[tuple[str, str]]
) -> WordOverlap:
    words = [(words_of(one), words_of(other)) for one, other in texts]
    alike = [jaccard(one, other) for one, other in words]
    # Every text beside that of the next pair: pairs that do not belong together.
    apart = [
        jaccard(one, words[(n + 1) % len(words)][1]) for n, (one, _) in enumerate(words)
    ]
    counts, _ = np.histogram(alike, bins=_BINS, range=(0, 1))
    return WordOverlap(
        first=first,
        second=second,
        text=text,
        jaccard=spread_of(alike),
        containment=spread_of(
            [len(one & other) / len(other) if other else 1.0 for one, other in words]
        ),
        length_ratio=spread_of([len(other) / len(one) for one, other in texts]),
        by_chance=float(np.mean(apart)) if len(words) > 1 else None,
        num_equal=sum(_folded(one) == _folded(other) for one, other in texts),
        counts=tuple(counts.tolist()),
    )


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _flagged(read: SetsRead) -> Iterator[Remark]:
    for sample, name in zip(read.queries, read.sets, strict=True):
        for why in read.remarks.get(sample.id, ()):
            yield Remark(sample_id=sample.id, set_name=name, why=why)


def _duplicates(read: SetsRead) -> tuple[tuple[str, ...], ...]:
    classes: dict[int, list[str]] = {}
    for sample, number in zip(read.originals, read.same, strict=bool(read.same)):
        classes.setdefault(number, []).append(sample.id)
    return tuple(tuple(ids) for ids in classes.values() if len(ids) > 1)


def _examples(read: SetsRead, num_each: int) -> Iterator[Example]:
    """Originals whose versions share as many words as others do, fewest and most."""
    versions = _versions(read)
    alike = {number: _likeness(read, number, of) for number, of in versions.items()}
    ranked = sorted(alike, key=lambda number: (alike[number], number))
    middle = max(0, (len(ranked) - num_each) // 2)
    chosen: dict[int, str] = {}
    for why, some in (
        ("typical", ranked[middle : middle + num_each]),
        ("least alike", ranked[:num_each]),
        ("most alike", ranked[::-1][:num_each]),
    ):
        for number in some:
            chosen.setdefault(number, why)
    known = _counts(read.original_tokens, read.originals)
    lengths = _counts(read.query_tokens, read.queries)
    for number, why in chosen.items():
        own = _text(read.originals[number], ORIGINALS, known[number])
        yield Example(
            why=why,
            jaccard=alike[number],
            texts=(
                own,
                *(
                    _text(read.queries[query], read.sets[query], lengths[query])
                    for query in versions[number]
                ),
            ),
        )


def _versions(read: SetsRead) -> dict[int, list[int]]:
    """Queries of each original, where both have a text."""
    versions: dict[int, list[int]] = {}
    for query, number in enumerate(read.original):
        if read.queries[query].messages and read.originals[number].messages:
            versions.setdefault(number, []).append(query)
    return versions


def _likeness(read: SetsRead, number: int, queries: Sequence[int]) -> float:
    own = words_of(prompt_of(read.originals[number]))
    return float(
        np.mean([jaccard(own, words_of(prompt_of(read.queries[q]))) for q in queries])
    )


def _text(sample: Sample, name: str, count: TokenCount | None) -> SampleText:
    return SampleText(
        sample_id=sample.id,
        set_name=name,
        prompt=prompt_of(sample)[:LONGEST],
        answer=sample.response[:LONGEST],
        num_tokens=None if count is None else count.num_tokens,
    )


def _counts(
    counts: Sequence[TokenCount], samples: Sequence[Sample]
) -> Sequence[TokenCount | None]:
    return counts or [None] * len(samples)
