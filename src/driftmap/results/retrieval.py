"""How well do gradients lead from a query back to the sample that it was made from?

A `RetrievalStudy` holds every number that is reported of pairs; it turns into JSON and
back by results/plain.py. Shares and rates are from 0 to 1; None stands where there is
no number. Where this reads "id", originals with equal tokens and labels count as one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from driftmap.core.places import TensorPlace
from driftmap.results.oddities import EnergyShares, HubOriginal, OddQuery
from driftmap.results.retrieval_reading import Contrast, Reading, Score, Unit
from driftmap.results.selection import ProjectionPoint, SelectionPath, TieRule
from driftmap.results.statistics import Caution

TopTies = Literal["share", "first"]
"""When t candidates tie at the top: a right one counts 1/t, or only the first listed
counts."""

WeightingName = Literal["plain", "equal", "per_weight", "learnt", "mean_of_cosines"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """How much of what goes wrong is listed; the counts beside it are of all.

    Args:
        candidates: Of an odd query, besides its truth (count).
        wrong: Wrong queries of each unit (count).
    """

    candidates: int = 5
    wrong: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalSettings:
    """What is asked of the products.

    Args:
        ties: How ties at the top count.
        forced: Every list of candidates holds the truth because it was put there.
        holdout: Share of the ids on which choices are reported rather than made; 0
            chooses and reports on all.
        num_resamples: Bootstrap draws over ids (count).
        level: Nominal coverage of every interval.
        recall_at: Numbers k of recall@k.
        step_ties: How the greedy selection breaks ties.
        max_steps: Tensors that the greedy selection takes at most; None for all.
        num_odd: Queries whose tensors differ most from full that are shown (count).
        shown: How much is listed.
        hub_factor: An original is a hub above this multiple of its share.
    """

    ties: TopTies = "share"
    forced: bool = False
    holdout: float = 0.5
    num_resamples: int = 2000
    level: float = 0.95
    recall_at: tuple[int, ...] = (1, 5, 10, 50)
    step_ties: TieRule = "order"
    max_steps: int | None = None
    num_odd: int = 3
    shown: Shown = field(default_factory=Shown)
    hub_factor: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The best tensor, chosen on some ids and reported on the others.

    Args:
        unit: The tensor.
        num_tied: Tensors that were as good where it was chosen, itself among them.
        chosen_on: Accuracy where it was chosen: too high, by having been chosen.
        reported_on: Accuracy on the other ids: this is the number to quote. On all
            where nothing is held out.
        full: Accuracy of full on those other ids.
        against: The tensor against full and baselines, there.
    """

    unit: Unit
    num_tied: int
    chosen_on: float
    reported_on: Score
    full: Score
    against: tuple[Contrast, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighting:
    """All tensors under other weights: the same products, reduced once more.

    Args:
        name: `plain` (1), `equal` (1 / sqrt(mean A * mean B)), `per_weight`
            (1 / num_weights), `learnt` (fitted to tell the truth from other
            candidates, never negative), `mean_of_cosines`.
        is_cosine: Whether it is the cosine of a weighted gradient;
            `mean_of_cosines` is not, and is labelled as another quantity.
        reading: On all queries; None for `learnt`, which saw one half, unless
            nothing is held out.
        reported_on: Accuracy on the ids of the reported half, comparable between all
            weightings; None where ids cannot be halved.
        weights: Weight per tensor, in the order of `RetrievalStudy.tensors`, scaled
            to sum 1; empty for `mean_of_cosines`.
    """

    name: WeightingName
    is_cosine: bool
    reading: Reading | None
    reported_on: Score | None
    weights: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preselection:
    """What were the candidates, and did the lists hold the truth?

    Args:
        is_all_pairs: Every query was compared with every original.
        num_least: Candidates of the query that has fewest.
        num_most: Candidates of the query that has most.
        title: In words: `1 of 988`, `1 of 50, where found`, or
            `1 of 5, truth always present`.
        recall: Share of queries whose list holds a right original; before any was
            put there, where the forced ones are known. None where lists were forced
            and that is not known.
        missing: Queries whose list holds none.
        forced: Queries whose truth was put there.
    """

    is_all_pairs: bool
    num_least: int
    num_most: int
    title: str
    recall: float | None
    missing: tuple[str, ...]
    forced: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongQuery:
    """A query whose right original is not alone on top.

    Args:
        unit: Name of the unit that ranks: `full`, or the best tensor.
        query: Its id.
        original: Id of the truth.
        chosen: Id of the original on top.
        rank: Of the truth; None where it is no candidate.
        truth_cosine: None likewise, or where there is no direction.
        chosen_cosine: None where there is no direction.
        flags: What is known of it: those given with the data, and `duplicate`
            (the truth's text stands under several ids), `not a candidate`, `forced`.
    """

    unit: str
    query: str
    original: str
    chosen: str
    rank: float | None
    truth_cosine: float | None
    chosen_cosine: float | None
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryReading:
    """Where the truth of one query stands.

    Args:
        query: Its id.
        original: Id of the truth.
        ranks: Name of a unit (full, best tensor, baselines) -> rank of the truth;
            None where it is no candidate.
        truth_cosine: Full cosine with the truth; None where there is none.
        best_other_cosine: Highest full cosine with another; None likewise.
        is_reported: It is in the half that choices are reported on.
        flags: As in `WrongQuery`.
    """

    query: str
    original: str
    ranks: Mapping[str, float | None]
    truth_cosine: float | None
    best_other_cosine: float | None
    is_reported: bool
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetStudy:
    """Everything that is said of one set of queries.

    Args:
        name: The set: `paraphrased`.
        num_queries: Queries.
        num_ids: Different originals behind them: what is resampled.
        num_chosen_on: Ids that choices are made on.
        num_reported_on: Ids that they are reported on; the same where nothing is
            held out.
        preselection: The candidates.
        readings: Full first, then tensors in model order, parts, layers, halves,
            parts of layers, halves of layers, then baselines. A group that one
            tensor fills alone is listed under both.
        best_tensor: None where ids cannot be halved.
        weightings: `plain` first.
        selections: Greedy forward selection, one per goal; empty where ids cannot be
            halved.
        projections: Random projections to draw beside them.
        energy: Which tensors hold the gradient.
        size_correlation: Spearman correlation of weights and accuracy over tensors;
            None where sizes are unknown or equal.
        odd: Queries whose tensors differ most from full.
        num_wrong: Name of a unit -> how many queries it has wrong.
        wrong: Those, first of each unit up to the number shown.
        hubs: Originals that are on top far too often, under full.
        queries: One per query.
        cautions: What to read with care.
    """

    name: str
    num_queries: int
    num_ids: int
    num_chosen_on: int
    num_reported_on: int
    preselection: Preselection
    readings: tuple[Reading, ...]
    best_tensor: HeldOut | None
    weightings: tuple[Weighting, ...]
    selections: tuple[SelectionPath, ...]
    projections: tuple[ProjectionPoint, ...]
    energy: EnergyShares
    size_correlation: float | None
    odd: tuple[OddQuery, ...]
    num_wrong: Mapping[str, int]
    wrong: tuple[WrongQuery, ...]
    hubs: tuple[HubOriginal, ...]
    queries: tuple[QueryReading, ...]
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalStudy:
    """Everything that is said of one model's products.

    Args:
        settings: What was asked.
        seed: Of halves and resamples.
        tensors: Places, in model order.
        num_originals: Originals.
        num_duplicates: Originals whose tokens and labels another one has too.
        provenance: How the products were made.
        sets: One per set of queries, in order of first appearance.
    """

    settings: RetrievalSettings
    seed: int
    tensors: tuple[TensorPlace, ...]
    num_originals: int
    num_duplicates: int
    provenance: Mapping[str, str]
    sets: tuple[SetStudy, ...]
