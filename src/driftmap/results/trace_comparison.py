"""Do two prompts use the same layers, and do prompts of one fact do so more?

A profile is what restoring a row of a trace does, layer by layer, in units of the total
effect. Pairs of prompts are compared by it, and classes of pairs with each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64, Int8

from driftmap.results.facts import Direction
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution, Interval
from driftmap.results.trace_kinds import (
    Noise,
    Outcome,
    TraceKind,
)

ProfileRow = Literal[
    "first subject", "middle subject", "last subject", "first later", "further", "last",
    "all roles",
]  # fmt: skip
"""Which tokens of a grid are compared; `all roles` lays the rows of all roles one after
another, so that prompts of any length match."""

PairClass = Literal[
    "paraphrase", "same subject", "same relation", "nothing shared",
    "reversed", "nothing shared, reversed",
]  # fmt: skip
PAIR_CLASSES: tuple[PairClass, ...] = get_args(PairClass)
"""Two wordings of one fact; two facts of one subject; one relation of two subjects; two
facts that share none of these. Then a fact and its reversal; a fact and the reversal of
one with which it shares nothing."""

CLOSENESS = "pearson"
"""The measure that every question is asked of."""

Compat = Literal[
    "cosine", "euclid", "manhattan", "chebyshev", "minkowski 3",
    "z pearson", "z spearman", "z dtw", "z mse",
]  # fmt: skip
COMPATS: tuple[Compat, ...] = get_args(Compat)
"""Measures of rows of raw outcomes as published, the last four after z-scoring. They
are shown beside the profiles' Pearson and never decide anything."""

SIMILARITIES: tuple[str, ...] = (CLOSENESS, "cosine", "z pearson", "z spearman")
"""Measures that grow with likeness; all others are distances."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceProfile:
    """One prompt and one kind of state: what its layers do at a row.

    Args:
        prompt_id: The `id` of the prompt.
        fact: Which fact it says.
        subject: The subject of the fact, in every wording and direction the same.
        named: The subject as it stands in the prompt.
        relation: What is said; empty where the file says nothing.
        direction: Whether subject and object have changed places.
        answer: What the outcome is about.
        answer_ids: Tokens of the answer.
        is_known: The model's first choice is the given answer; None where none is
            given.
        num_tokens: Tokens of the prompt (count).
        token: Text of the row's token; several are joined.
        total_effect: TE = high - low.
        low: Outcome of the corrupted run.
        effect: IE / TE, one row per role; NaN for roles that the prompt has not.
        score: The same cells as they are, outcomes.
        peak_layer: Layer of the largest effect; None where no effect is positive.
        centre: Centre of mass of the positive part (layers); None without.
    """

    prompt_id: str
    fact: str
    subject: str
    named: str
    relation: str
    direction: Direction
    answer: str
    answer_ids: tuple[int, ...]
    is_known: bool | None
    num_tokens: int
    token: str
    total_effect: float
    low: float
    effect: Float64[np.ndarray, "role layer"]
    score: Float64[np.ndarray, "role layer"]
    peak_layer: int | None
    centre: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Prompts that give no profile, by reason (counts).

    Args:
        unknown: The model's first choice is not the given answer.
        weak: The total effect is below the least one that is accepted.
        no_row: The prompt has no token of the role.
    """

    unknown: int
    weak: int
    no_row: int

    @property
    def num(self) -> int:
        """All of them."""
        return self.unknown + self.weak + self.no_row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProfileComparison:
    """All pairs of prompts, by one kind of state at one row.

    Args:
        kind: What was put back.
        window: Layers put back at once (count); None where it is one block's output.
        row: Which tokens.
        profiles: The prompts, in the order of the matrices.
        refused: Prompts without a profile.
        pearson: Correlation of the profiles over layers; NaN where one is flat.
        earth_mover: Layers that the positive part of one profile must be moved by, on
            average, to become the other's; NaN where one has none.
        centres: Distance of the centres of mass (layers); NaN likewise.
        peaks: Distance of the peak layers (layers); NaN likewise.
        compat: Published measures of rows of raw outcomes, to compare with.
        classes: Number of each pair's class in `PAIR_CLASSES`; -1 for a prompt with
            itself and for pairs of no class.
    """

    kind: TraceKind
    window: int | None
    row: ProfileRow
    profiles: tuple[TraceProfile, ...]
    refused: Refused
    pearson: Float64[np.ndarray, "prompt prompt"]
    earth_mover: Float64[np.ndarray, "prompt prompt"]
    centres: Float64[np.ndarray, "prompt prompt"]
    peaks: Float64[np.ndarray, "prompt prompt"]
    compat: Mapping[str, Float64[np.ndarray, "prompt prompt"]]
    classes: Int8[np.ndarray, "prompt prompt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassLikeness:
    """How alike the pairs of one class are, and what else they share.

    Args:
        name: The class.
        num_pairs: Pairs whose profiles are not flat (count).
        num_facts: Facts in them (count).
        num_subjects: Subjects in them (count).
        mean: Mean Pearson.
        low: The tenth part of the pairs lie below this.
        high: And the tenth part above this.
        answer_overlap: Mean share of the answers' tokens that two prompts have in
            common, from 0 to 1.
        length_difference: Mean difference of the prompts' lengths (tokens).
    """

    name: PairClass
    num_pairs: int
    num_facts: int
    num_subjects: int
    mean: float
    low: float
    high: float
    answer_overlap: float
    length_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceiling:
    """How alike a prompt is to itself under other noise: more means nothing.

    Args:
        likeness: Mean Pearson of a prompt's profile with its own.
        low: The tenth part of the prompts lie below this.
        num_prompts: Prompts (count).
        num_seeds: Other seeds of the noise (count).
    """

    likeness: float
    low: float
    num_prompts: int
    num_seeds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassContrast:
    """Are pairs of one class more alike than those of another?

    Args:
        kind: What was put back.
        name: The class.
        against: The other class.
        auc: P(within > against) + half of ties, with its bootstrap interval; `num` is
            subjects.
        ceiling: The same area of prompts with themselves under other noise, instead of
            pairs of the class; None where there is no other noise.
        p_value: Share of relabellings in which the area is as large; the observed one
            is counted among them.
        p_adjusted: The same for many tests (Benjamini-Hochberg); None for the one that
            was declared beforehand.
        num_permutations: Relabellings (count).
        num_pairs: Pairs of the class (count).
        num_against: Pairs of the other (count).
        num_facts: Facts in the pairs of the class (count).
        answer_auc: The same area of the overlap of answers alone.
        length_auc: The same area of likeness in length alone.
    """

    kind: TraceKind
    name: PairClass
    against: PairClass
    auc: Interval
    ceiling: float | None
    p_value: float
    p_adjusted: float | None
    num_permutations: int
    num_pairs: int
    num_against: int
    num_facts: int
    answer_auc: float
    length_auc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureArea:
    """How well one measure tells a class from pairs that share nothing.

    Args:
        measure: Its name: that of a profile's, or of a published one.
        name: The class.
        mean: Its mean over pairs of the class.
        mean_other: Its mean over pairs that share nothing.
        auc: P(pairs of the class are more alike) + half of ties.
    """

    measure: str
    name: PairClass
    mean: float
    mean_other: float
    auc: float


Question = Literal["paraphrases", "different facts", "reversed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The answer to one of the three questions.

    Args:
        question: Which.
        title: The answer in short.
        sentence: The answer with its numbers.
        is_told_apart: It is told apart from chance.
        contrast: What it rests on; None where it could not be asked.
    """

    question: Question
    title: str
    sentence: str
    is_told_apart: bool
    contrast: ClassContrast | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KindComparison:
    """All that is said of one kind of state.

    Args:
        comparison: All pairs.
        likeness: Class by class.
        contrasts: Between classes.
        ceiling: The most that can be expected; None where noise has no other seed.
        areas: Every other measure beside it.
    """

    comparison: ProfileComparison
    likeness: tuple[ClassLikeness, ...]
    contrasts: tuple[ClassContrast, ...]
    ceiling: Ceiling | None
    areas: tuple[MeasureArea, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceComparison:
    """A whole comparison of traces; the first kind is the declared one.

    Args:
        model: Which model.
        facts: Name of the file, or what was given.
        num_prompts: Prompts traced (count).
        num_facts: Facts that they say (count).
        num_left_out: Prompts that could not be traced at all (count).
        outcome: What is read.
        noise: What was done to the subjects.
        noise_source: Where its level comes from, in words.
        row: Which tokens are compared.
        min_total_effect: Least TE that is accepted.
        kinds: Kind by kind.
        findings: The three questions, on the first kind.
        cautions: What to keep in mind.
    """

    model: ModelIdentity
    facts: str
    num_prompts: int
    num_facts: int
    num_left_out: int
    outcome: Outcome
    noise: Noise
    noise_source: str
    row: ProfileRow
    min_total_effect: float
    kinds: tuple[KindComparison, ...]
    findings: tuple[Finding, ...]
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareReport:
    """A comparison with what the page says of its making.

    Args:
        comparison: The comparison.
        settings: The resolved recipe, option -> value.
        versions: Package -> version.
    """

    comparison: TraceComparison
    settings: Mapping[str, object]
    versions: Mapping[str, str]
