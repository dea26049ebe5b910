"""What does one tensor, part, layer, weighting or baseline reach on a set?"""

from dataclasses import dataclass
from typing import Literal

from driftmap.core.places import Half, Part
from driftmap.results.statistics import Interval

FULL = "full"
"""Name of the unit that holds all tensors, each with weight 1."""

UnitKind = Literal[
    "full", "tensor", "part", "layer", "half", "layer_part", "layer_half",
    "weighting", "baseline",
]  # fmt: skip
"""What a unit joins. `layer_part` and `layer_half` are a part or half of one layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """What ranks the candidates: tensors joined, or something that stands beside them.

    Args:
        kind: What it joins.
        name: The tensor's name; `full`; `q`; `layer 3`; `attention`; `layer 3 q`;
            `layer 3 mlp`; a weighting's or a baseline's own name.
        part: Of a tensor, a part, or a part of a layer.
        layer: Of whatever lies in one block, from 0.
        half: Of whatever lies in one half.
        num_tensors: Tensors that it joins; 0 for a baseline.
        num_weights: Their weights (count); None where one of them is not known.
    """

    kind: UnitKind
    name: str
    part: Part | None = None
    layer: int | None = None
    half: Half | None = None
    num_tensors: int = 0
    num_weights: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A figure, its interval over ids, and what chance gives.

    Args:
        value: Estimate and interval.
        chance: What a random order gives on the same lists; below it is a result.
        method: Whose interval: resampled ids, or Wilson's where all or none are right.
    """

    value: Interval
    chance: float
    method: Literal["bootstrap", "wilson"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Share of queries with a right original among the first k.

    Args:
        k: Places that are looked at.
        score: The share.
    """

    k: int
    score: Score


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """One unit's accuracy minus another's, on the same ids.

    Args:
        against: Name of the other unit: `full`, or a baseline.
        change: Mean difference, the same resamples for both.
        num_gained: Ids that only this unit has right, or has right more often.
        num_lost: Ids that only the other one has.
        p_value: McNemar's exact test over ids.
        p_adjusted: The same after Benjamini and Hochberg, over all tensors of the
            set; None for a unit that is no tensor.
    """

    against: str
    change: Interval
    num_gained: int
    num_lost: int
    p_value: float
    p_adjusted: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Does a unit say of the pairs what the full gradient says?

    Args:
        cosine: Uncentred cosine of the two lists of all pair cosines; high whenever
            one candidate dominates.
        spearman: Rank correlation over a query's candidates, mean over queries; None
            where no query has two candidates that differ.
    """

    cosine: float | None
    spearman: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Closeness:
    """How alike are a query and its original, and how alike any two?

    Args:
        match: Mean cosine of a query with its truth.
        background: Mean cosine of a query with the other candidates.
        gap: Their difference, the same resamples for both.
        gap_in_sd: `gap` in standard deviations of the background cosines.
    """

    match: Interval | None
    background: Interval | None
    gap: Interval | None
    gap_in_sd: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchError:
    """What random projection adds to a unit's cosines; absent for exact products.

    Args:
        rms: Standard error of a cosine, root mean square over pairs.
        num_unsure: Queries whose truth and best other lie within two standard errors
            of their difference.
    """

    rms: float
    num_unsure: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorMeans:
    """Plain means over the tensors of a unit: the second line of a curve.

    Args:
        accuracy: Mean of the tensors' accuracies.
        match: Mean of their mean cosines with the truth; None where none has one.
    """

    accuracy: float
    match: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What one unit reaches on one set of queries.

    Args:
        unit: Which.
        num_queries: Queries.
        accuracy: Share with a right original on top; ties at the top count by
            `RetrievalSettings.ties`; a truth that is no candidate is wrong.
        reciprocal_rank: Mean of 1/rank (MRR); 0 where the truth is no candidate.
        recall: Recall@k, one per k.
        median_rank: Median rank of the truth; None where half or more lack it.
        margin: Truth minus best other, in sd of the others, mean over queries; None
            where no query has two others that differ.
        auc: Does a matching pair lie above a non-matching one, over all pairs? Only
            where every query was compared with every original. Chance is one half.
        closeness: Cosines of matching and other pairs; None for a baseline.
        num_without_direction: Queries whose gradient has no direction here; their
            candidates all tie.
        agreement: With full; None for full itself and for baselines.
        tensor_means: Of a unit that joins several tensors; None elsewhere.
        unflagged: Accuracy without flagged queries; None where none is flagged, or
            all are.
        contrasts: Against full and each baseline.
        sketch: Errors of projected products; None for exact ones.
    """

    unit: Unit
    num_queries: int
    accuracy: Score
    reciprocal_rank: Score
    recall: tuple[Recall, ...]
    median_rank: float | None
    margin: Interval | None
    auc: Score | None
    closeness: Closeness | None = None
    num_without_direction: int = 0
    agreement: Agreement | None = None
    tensor_means: TensorMeans | None = None
    unflagged: Score | None = None
    contrasts: tuple[Contrast, ...] = ()
    sketch: SketchError | None = None
