"""What do two prompts share: a fact, a subject, a relation, or nothing?

Classes follow from labels alone, so that a relabelling gives classes anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int8, Int64

from driftmap.results.trace_comparison import PAIR_CLASSES, TraceProfile

CODES = {name: number for number, name in enumerate(PAIR_CLASSES)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Labels:
    """What each prompt says, as numbers; equal numbers mean the same.

    Args:
        fact: Which fact.
        subject: The subject of its fact.
        named: The subject as it stands in the prompt, numbered as answers are.
        relation: Its relation; -1 where the file names none.
        answer: The answer's words.
        is_reversed: Subject and object have changed places.
        is_sure: The model's first choice is the given answer.
    """

    fact: Int64[np.ndarray, " prompt"]
    subject: Int64[np.ndarray, " prompt"]
    named: Int64[np.ndarray, " prompt"]
    relation: Int64[np.ndarray, " prompt"]
    answer: Int64[np.ndarray, " prompt"]
    is_reversed: Bool[np.ndarray, " prompt"]
    is_sure: Bool[np.ndarray, " prompt"]


def labels_of(profiles: Sequence[TraceProfile]) -> Labels:
    """Number what prompts say; case and outer spaces of words do not count."""
    facts: dict[str, int] = {}
    words: dict[str, int] = {}
    relations: dict[str, int] = {"": -1}

    def word(text: str) -> int:
        return words.setdefault(text.strip().casefold(), len(words))

    return Labels(
        fact=_ints([facts.setdefault(p.fact, len(facts)) for p in profiles]),
        subject=_ints([word(p.subject) for p in profiles]),
        named=_ints([word(p.named) for p in profiles]),
        relation=_ints(
            [relations.setdefault(p.relation, len(relations)) for p in profiles]
        ),
        answer=_ints([word(p.answer) for p in profiles]),
        is_reversed=np.array([p.direction == "reversed" for p in profiles], dtype=bool),
        is_sure=np.array([p.is_known is True for p in profiles], dtype=bool),
    )


def pair_classes(
    profiles: Sequence[TraceProfile],
) -> Int8[np.ndarray, "prompt prompt"]:
    """Put every pair of prompts into its class.

    Returns:
        Numbers in `PAIR_CLASSES`, symmetric; -1 for a prompt with itself and for pairs
        of no class.
    """
    labels = labels_of(profiles)
    num = len(profiles)
    first, second = np.triu_indices(num, 1)
    found = np.full((num, num), -1, dtype=np.int8)
    found[first, second] = found[second, first] = classes_of(labels, first, second)
    return found


def classes_of(
    labels: Labels,
    first: Int64[np.ndarray, " pair"],
    second: Int64[np.ndarray, " pair"],
) -> Int8[np.ndarray, " pair"]:
    """Put pairs into classes.

    A class is for two prompts of one direction, and `reversed` for one of each, of
    facts that the model predicts both ways. Nothing is shared where fact, subject and
    relation differ; between directions, no subject may be the other's answer either.

    Args:
        labels: What prompts say.
        first: One prompt of each pair.
        second: The other.
    """

    def same(values: Int64[np.ndarray, " prompt"]) -> Bool[np.ndarray, " pair"]:
        return values[first] == values[second]

    fact, subject = same(labels.fact), same(labels.subject)
    relation = same(labels.relation) & (labels.relation[first] >= 0)
    back_first, back_second = labels.is_reversed[first], labels.is_reversed[second]
    across = back_first != back_second
    forward = ~(back_first | back_second)
    sure = labels.is_sure[first] & labels.is_sure[second]
    named = labels.named[first] == labels.answer[second]
    named |= labels.answer[first] == labels.named[second]
    nothing = ~(fact | subject | relation)
    found = np.full(first.size, -1, dtype=np.int8)
    found[forward & nothing] = CODES["nothing shared"]
    found[across & sure & nothing & ~named] = CODES["nothing shared, reversed"]
    found[forward & relation] = CODES["same relation"]
    found[forward & subject] = CODES["same subject"]
    found[forward & fact] = CODES["paraphrase"]
    found[across & sure & fact] = CODES["reversed"]
    return found


def _ints(values: Sequence[int]) -> Int64[np.ndarray, " value"]:
    return np.array(values, dtype=np.int64)


def answer_overlap(
    profiles: Sequence[TraceProfile],
    first: Int64[np.ndarray, " pair"],
    second: Int64[np.ndarray, " pair"],
) -> Float64[np.ndarray, " pair"]:
    """Share of the answers' tokens that two prompts have in common.

    Tokens of both over tokens of either (Jaccard), 0 where neither has any.
    """
    sets = {p.answer_ids: frozenset(p.answer_ids) for p in profiles}
    numbers = {ids: number for number, ids in enumerate(sets)}
    kinds = list(sets.values())
    table = np.array(
        [[len(a & b) / max(1, len(a | b)) for b in kinds] for a in kinds]
    ).reshape(len(kinds), len(kinds))
    of = _ints([numbers[p.answer_ids] for p in profiles])
    return table[of[first], of[second]]


def length_differences(
    profiles: Sequence[TraceProfile],
    first: Int64[np.ndarray, " pair"],
    second: Int64[np.ndarray, " pair"],
) -> Float64[np.ndarray, " pair"]:
    """By how many tokens prompts differ in length."""
    lengths = np.array([p.num_tokens for p in profiles], dtype=np.float64)
    return np.abs(lengths[first] - lengths[second])
