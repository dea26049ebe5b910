"""Which labels could prompts as well have, if what is asked made no difference?

What moves is whole: prompts of one fact are moved together where facts of a subject
are asked about, and facts of one subject where relations are. What else is shared stays
as it is: facts keep their relations while subjects are dealt anew.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from jaxtyping import Int64

from driftmap.results.trace_comparison import PairClass
from driftmap.stats.profile_pairs import Labels

Numbers = Int64[np.ndarray, " prompt"]


def relabelled(
    labels: Labels,
    names: tuple[PairClass, PairClass],
    num_draws: int,
    rng: np.random.Generator,
) -> Iterator[Labels]:
    """Draw labels under which the two classes are alike.

    * `paraphrase`: for every wording in turn, whole facts exchange their prompts;
      against `same relation`, facts of one relation.
    * `same subject`: facts, with all their prompts, exchange their subjects within
      their relation.
    * `same relation`: subjects, with all their facts, exchange their relations, and the
      facts of a subject theirs.
    * `reversed`: facts exchange their reversed prompts.

    Args:
        labels: What prompts say.
        names: The class that is asked about, and the one that it is compared with.
        num_draws: Relabellings.
        rng: Source of randomness.
    """
    name, against = names
    slots = _slots(labels, against == "same relation")
    for _ in range(num_draws):
        if name == "paraphrase":
            yield labels.of(_shuffled_within(slots, rng))
        elif name == "same subject":
            yield replace(labels, subject=_subjects_dealt(labels, rng))
        elif name == "same relation":
            yield replace(labels, relation=_relations_dealt(labels, rng))
        else:
            yield _reversals_dealt(labels, rng)


def wording_numbers(labels: Labels) -> Numbers:
    """Which wording of its fact each prompt is, from 0, in each direction apart."""
    seen: dict[tuple[int, bool], int] = {}
    numbers = np.empty_like(labels.fact)
    keys = zip(labels.fact.tolist(), labels.is_reversed.tolist(), strict=True)
    for place, key in enumerate(keys):
        numbers[place] = seen.get(key, 0)
        seen[key] = int(numbers[place]) + 1
    return numbers


def _slots(labels: Labels, is_within_relation: bool) -> Numbers:
    """Prompts that exchange their facts have one number."""
    slots = wording_numbers(labels) * 2 + labels.is_reversed
    if is_within_relation:
        slots = slots * (labels.relation.max() + 2) + labels.relation + 1
    return slots


def _subjects_dealt(labels: Labels, rng: np.random.Generator) -> Numbers:
    """Subjects of whole facts, exchanged within relations where these have several."""
    facts, first, fact = np.unique(labels.fact, return_index=True, return_inverse=True)
    strata = labels.relation[first]
    if np.unique(strata).size == facts.size:
        strata = np.zeros_like(strata)
    return labels.subject[first][_shuffled_within(strata, rng)][fact]


def _relations_dealt(labels: Labels, rng: np.random.Generator) -> Numbers:
    """Relations of whole facts, exchanged within subjects and by whole subjects."""
    _, first, fact = np.unique(labels.fact, return_index=True, return_inverse=True)
    relation = labels.relation[first]
    by_subject = np.argsort(labels.subject[first], kind="stable")
    sizes = np.unique(labels.subject[first], return_counts=True)[1]
    ends = np.cumsum(sizes)
    dealt = np.empty_like(relation)
    for size in np.unique(sizes).tolist():
        places = np.stack([by_subject[end - size : end] for end in ends[sizes == size]])
        rows = rng.permutation(relation[places])
        dealt[places] = rng.permuted(rows, axis=1)
    return dealt[fact]


def _reversals_dealt(labels: Labels, rng: np.random.Generator) -> Labels:
    """Reversed prompts that the model predicts exchange their facts, fact by fact."""
    moving = np.flatnonzero(labels.is_reversed & labels.is_sure)
    _, first, fact = np.unique(
        labels.fact[moving], return_index=True, return_inverse=True
    )
    source = moving[first[rng.permutation(first.size)][fact]]

    def moved(values: Numbers) -> Numbers:
        dealt = values.copy()
        dealt[moving] = values[source]
        return dealt

    return replace(
        labels,
        fact=moved(labels.fact),
        subject=moved(labels.subject),
        named=moved(labels.named),
        relation=moved(labels.relation),
        answer=moved(labels.answer),
    )


def _shuffled_within(
    strata: Int64[np.ndarray, " unit"], rng: np.random.Generator
) -> Int64[np.ndarray, " unit"]:
    """A random order of the units that keeps each within its stratum."""
    order = np.empty_like(strata)
    there = np.argsort(strata, kind="stable")
    order[there] = np.lexsort((rng.random(strata.size), strata))
    return order
