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

    def of(self, prompts: Int64[np.ndarray, " chosen"]) -> "Labels":
        """Labels of some prompts alone."""
        return Labels(
            fact=self.fact[prompts],
            subject=self.subject[prompts],
            named=self.named[prompts],
            relation=self.relation[prompts],
            answer=self.answer[prompts],
            is_reversed=self.is_reversed[prompts],
            is_sure=self.is_sure[prompts],
        )


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


def pair_classes(labels: Labels) -> Int8[np.ndarray, "prompt prompt"]:
    """Put every pair of prompts into its class.

    A class is for two prompts of one direction, and `reversed` for one of each, of
    facts that the model predicts both ways. Nothing is shared where fact, subject and
    relation differ; between directions, no subject may be the other's answer either.

    Returns:
        Numbers in `PAIR_CLASSES`, symmetric; -1 for a prompt with itself and for pairs
        of no class.
    """
    fact, subject = _alike(labels.fact), _alike(labels.subject)
    relation = _alike(labels.relation) & (labels.relation >= 0)[:, None]
    nothing = ~(fact | subject | relation)
    found = np.full(fact.shape, CODES["nothing shared"], dtype=np.int8)
    np.copyto(found, CODES["same relation"], where=relation)
    np.copyto(found, CODES["same subject"], where=subject)
    np.copyto(found, CODES["paraphrase"], where=fact)
    back = labels.is_reversed
    if back.any():
        found[back[:, None] | back] = -1
        across = (back[:, None] != back) & (labels.is_sure[:, None] & labels.is_sure)
        named = labels.named[:, None] == labels.answer
        apart = nothing & ~(named | named.T)
        found[across & apart] = CODES["nothing shared, reversed"]
        found[across & fact] = CODES["reversed"]
    np.fill_diagonal(found, -1)
    return found


def _alike(
    values: Int64[np.ndarray, " prompt"],
) -> Bool[np.ndarray, "prompt prompt"]:
    return values[:, None] == values


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
