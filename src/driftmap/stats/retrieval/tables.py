"""Which columns do the figures of a study have, for Parquet and CSV?

A number that there is none of is NaN; a layer or count that there is none of is -1.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from driftmap.results.pair_products import PairProducts, Truth
from driftmap.results.retrieval import RetrievalSettings, RetrievalStudy, SetStudy
from driftmap.results.retrieval_reading import FULL, Contrast, Reading
from driftmap.results.statistics import Interval
from driftmap.results.table import Cell, Table
from driftmap.stats.retrieval.outcomes import Outcomes, observe
from driftmap.stats.retrieval.pairs import SetPairs, split_sets
from driftmap.stats.retrieval.scoring import make_scorer

NO_NUMBER = -1
"""What integer columns hold where there is no number."""

Row = Mapping[str, Cell]


def unit_table(study: RetrievalStudy) -> Table:
    """One row per set and unit: tensors, parts, layers, weightings, baselines."""
    rows = [
        {"set": of_set.name, **_unit(reading), **_figures(reading)}
        for of_set in study.sets
        for reading in _readings(of_set)
    ]
    return Table.from_rows(rows)


def query_table(study: RetrievalStudy) -> Table:
    """One row per query and unit that is shown: full, the best tensor, baselines."""
    rows = [
        {
            "set": of_set.name,
            "query": query.query,
            "original": query.original,
            "unit": unit,
            "rank": _number(rank),
            "full_truth_cosine": _number(query.truth_cosine),
            "full_best_other_cosine": _number(query.best_other_cosine),
            "is_reported": query.is_reported,
            "flags": "; ".join(query.flags),
        }
        for of_set in study.sets
        for query in of_set.queries
        for unit, rank in query.ranks.items()
    ]
    return Table.from_rows(rows)


def selection_table(study: RetrievalStudy) -> Table:
    """One row per step of every greedy selection."""
    rows = [
        {
            "set": of_set.name,
            "goal": path.goal,
            "step": number,
            "tensor": step.name,
            "num_weights": _count(step.num_weights),
            "share_of_weights": _number(step.share_of_weights),
            "agreement_chosen_on": _number(step.chosen_on.agreement),
            "agreement_reported_on": _number(step.reported_on.agreement),
            "accuracy_chosen_on": step.chosen_on.accuracy,
            "accuracy_reported_on": step.reported_on.accuracy,
            "is_smallest": number == path.num_smallest,
        }
        for of_set in study.sets
        for path in of_set.selections
        for number, step in enumerate(path.steps, start=1)
    ]
    return Table.from_rows(rows)


def energy_table(study: RetrievalStudy) -> Table:
    """One row per set and tensor: where the gradient lies."""
    rows = [
        {
            "set": of_set.name,
            "tensor": share.name,
            "part": share.part,
            "layer": _count(share.layer),
            "queries": share.queries,
            "originals": share.originals,
            "num_weights": _count(share.num_weights),
            "share_of_weights": _number(share.share_of_weights),
        }
        for of_set in study.sets
        for share in of_set.energy.tensors
    ]
    return Table.from_rows(rows)


def profile_table(study: RetrievalStudy, of_set: SetStudy) -> Table:
    """Rows are tensors, columns `query <=> original` of the odd queries of a set."""
    columns = {"tensor": np.array([tensor.name for tensor in study.tensors])}
    for odd in of_set.odd:
        for profile in odd.profiles:
            cosines = [_number(value) for value in profile.cosines]
            columns[f"{odd.query} <=> {profile.original}"] = np.array(cosines)
    return Table(columns=columns)


def rank_table(
    products: PairProducts, truth: Truth, settings: RetrievalSettings
) -> Table:
    """One row per query and tensor, too many for the study itself.

    Args:
        products: Measured or imported.
        truth: Which original is behind each query, and its set.
        settings: How ties count.

    Raises:
        MeasureError: Products and truth do not fit.
    """
    return Table.joined(
        [_ranks(pairs, settings) for pairs in split_sets(products, truth)]
    )


def _ranks(pairs: SetPairs, settings: RetrievalSettings) -> Table:
    tensors = np.array([tensor.name for tensor in pairs.products.tensors])
    queries = np.array([pairs.products.queries[row] for row in pairs.rows.tolist()])
    found: Outcomes = observe(make_scorer(pairs, []), [], 0, settings)
    size = found.rank.size
    return Table(
        columns={
            "set": np.full(size, pairs.name),
            "query": np.tile(queries, tensors.size),
            "tensor": np.repeat(tensors, queries.size),
            "rank": found.rank.reshape(-1),
            "hit": found.hit.reshape(-1),
            "truth_cosine": found.match.reshape(-1),
            "background_cosine": found.background.reshape(-1),
            "margin": found.margin.reshape(-1),
        }
    )


def _readings(of_set: SetStudy) -> Iterator[Reading]:
    yield from of_set.readings
    for weighting in of_set.weightings:
        if weighting.reading is not None:
            yield weighting.reading


def _unit(reading: Reading) -> Row:
    unit = reading.unit
    return {
        "kind": unit.kind,
        "name": unit.name,
        "part": unit.part or "",
        "layer": _count(unit.layer),
        "half": unit.half or "",
        "num_tensors": unit.num_tensors,
        "num_weights": _count(unit.num_weights),
    }


def _figures(reading: Reading) -> Row:
    close, means, sketch = reading.closeness, reading.tensor_means, reading.sketch
    against = {contrast.against: contrast for contrast in reading.contrasts}
    recall = {f"recall_at_{r.k}": r.score.value.estimate for r in reading.recall}
    agreement = reading.agreement
    return {
        "num_queries": reading.num_queries,
        **_interval("accuracy", reading.accuracy.value),
        "accuracy_chance": reading.accuracy.chance,
        **_interval("reciprocal_rank", reading.reciprocal_rank.value),
        **recall,
        "median_rank": _number(reading.median_rank),
        **_interval("margin", reading.margin),
        **_interval("auc", None if reading.auc is None else reading.auc.value),
        **_interval("match", None if close is None else close.match),
        **_interval("background", None if close is None else close.background),
        "gap_in_sd": _number(None if close is None else close.gap_in_sd),
        "agreement": _number(None if agreement is None else agreement.cosine),
        "spearman": _number(None if agreement is None else agreement.spearman),
        "mean_accuracy_of_tensors": _number(None if means is None else means.accuracy),
        "num_without_direction": reading.num_without_direction,
        **_change(against.get(FULL)),
        "sketch_error": _number(None if sketch is None else sketch.rms),
    }


def _change(contrast: Contrast | None) -> Row:
    return {
        **_interval("minus_full", None if contrast is None else contrast.change),
        "p_value": _number(None if contrast is None else contrast.p_value),
        "p_adjusted": _number(None if contrast is None else contrast.p_adjusted),
    }


def _interval(name: str, interval: Interval | None) -> Row:
    return {
        name: _number(None if interval is None else interval.estimate),
        f"{name}_low": _number(None if interval is None else interval.low),
        f"{name}_high": _number(None if interval is None else interval.high),
    }


def _count(value: int | None) -> int:
    return NO_NUMBER if value is None else value


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
