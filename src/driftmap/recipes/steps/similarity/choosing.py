"""Which originals is each query compared with, and what do words alone find?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.errors import DataError
from driftmap.core.progress import say
from driftmap.core.units import format_bytes
from driftmap.load.paired_encoding import EncodedPairs
from driftmap.measure.lexical import all_pairs, best_first, lexical_scores, preselected
from driftmap.recipes.similarity_options import CandidateOptions
from driftmap.results.baselines import Baseline
from driftmap.results.pair_products import NONE, Truth
from driftmap.store.plain import parse_json

MOST_BYTES = 4 * 2**30
"""Products of all pairs that `auto` takes without asking."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chosen:
    """The candidates.

    Args:
        candidates: Numbers of originals per query; `NONE` fills up.
        forced: Ids of queries whose original was put among them; None where nothing
            could be.
        lexical: BM25 among all originals.
        how: In words.
    """

    candidates: Int64[np.ndarray, "query candidate"]
    forced: tuple[str, ...] | None
    lexical: Baseline
    how: str


def choose_candidates(
    encoded: EncodedPairs, options: CandidateOptions, num_tensors: int
) -> Chosen:
    """Choose what each query is compared with.

    Args:
        encoded: Originals, queries, and the truth.
        options: As the user wants it.
        num_tensors: Products of each pair (count).

    Raises:
        DataError: A file of candidates does not fit the samples.
    """
    pairs, truth = encoded.pairs, encoded.truth
    scores = lexical_scores(
        pairs.original_prompts, pairs.query_prompts, options.lexical
    )
    num_queries, num_originals = scores.shape
    kind = _settled(options, scores.shape, num_tensors)
    if kind == "all":
        candidates = all_pairs(num_queries, num_originals)
        lexical = Baseline(name="bm25", scores=scores)
        how = f"all {num_originals} originals"
        return Chosen(candidates=candidates, forced=None, lexical=lexical, how=how)
    lexical = Baseline(
        name="bm25", ranks=_truth_ranks(scores, truth), num_ranked=num_originals
    )
    if kind == "bm25":
        top_k = min(options.top_k, num_originals)
        found = preselected(scores, top_k, truth, force_truth=options.force_truth)
        forced = tuple(pairs.queries[number].id for number in found.forced)
        return Chosen(
            candidates=found.originals,
            forced=forced if options.force_truth else None,
            lexical=lexical,
            how=f"the best {top_k} of {num_originals} by BM25 ({options.lexical})",
        )
    ids = [sample.id for sample in pairs.queries]
    candidates = _from_file(Path(kind), ids, [one.id for one in pairs.originals])
    how = f"those of {Path(kind).name}"
    return Chosen(candidates=candidates, forced=None, lexical=lexical, how=how)


def _settled(
    options: CandidateOptions, pairs: tuple[int, ...], num_tensors: int
) -> str:
    if options.candidates != "auto":
        return options.candidates
    num_queries, num_originals = pairs
    needed = 8 * num_queries * num_originals * num_tensors
    if needed <= MOST_BYTES or options.top_k >= num_originals:
        return "bm25" if options.force_truth else "all"
    say(
        f"all pairs of {num_queries} queries and {num_originals} originals would take "
        f"{format_bytes(needed)}: each query is compared with the {options.top_k} "
        "originals that BM25 finds; --candidates all compares all"
    )
    return "bm25"


def _truth_ranks(
    scores: Float64[np.ndarray, "query original"], truth: Truth
) -> Int64[np.ndarray, " query"]:
    """Place of the first right original in the whole corpus, from 1."""
    order = best_first(scores)
    wanted = truth.same[truth.original]
    return (truth.same[order] == wanted[:, None]).argmax(axis=1) + 1


def _from_file(
    path: Path, queries: Sequence[str], originals: Sequence[str]
) -> Int64[np.ndarray, "query candidate"]:
    listed = parse_json(path)
    if not isinstance(listed, dict):
        raise DataError(f'{path}: give one JSON object, as {{"query": ["original"]}}')
    rows = cast(Mapping[str, object], listed)
    places = {name: number for number, name in enumerate(originals)}
    found = [_row(path, query, rows.get(query), places) for query in queries]
    longest = max(map(len, found))
    if not longest:
        raise DataError(f"{path}: no query has a candidate; list original ids")
    return np.array(
        [row + [NONE] * (longest - len(row)) for row in found], dtype=np.int64
    )


def _row(
    path: Path, query: str, listed: object, places: Mapping[str, int]
) -> list[int]:
    if listed is None:
        raise DataError(f"{path}: query {query!r} is missing; list its candidates")
    if not isinstance(listed, list):
        raise DataError(f"{path}: {query!r} is no list; give ids of originals")
    names = cast(list[object], listed)
    strange = [name for name in names if not isinstance(name, str)]
    unknown = [name for name in names if name not in places]
    if strange or unknown:
        raise DataError(
            f"{path}: {query!r} names {(strange or unknown)[0]!r}, which is no original"
        )
    numbers = [places[cast(str, name)] for name in names]
    if len(set(numbers)) < len(numbers):
        raise DataError(f"{path}: {query!r} names an original twice")
    return numbers
