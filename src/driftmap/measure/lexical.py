"""Which originals share words with a query? BM25 in two published variants.

`lucene` (through the library bm25s) reads lower-case word tokens; `okapi` is what the
library rank-bm25 computes on words as they are split at spaces. The two differ in
tokens, in the weight of common words and in a factor, so both have a name:

    lucene   sum_w ln(1 + (N-n+.5)/(n+.5)) * tf / (tf + k1 (1-b + b len/mean len))
    okapi    sum_w idf(w) * tf (k1+1) / (tf + k1 (1-b + b len/mean len)),
             idf = ln(N-n+.5) - ln(n+.5), a negative one replaced by a quarter of the
             mean idf over all words

over the words of the query, repeated ones repeatedly; N originals, n of them with the
word. See Robertson and Zaragoza 2009, and Lu 2024 (arXiv:2407.03618) on bm25s.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.core.errors import MeasureError
from driftmap.results.pair_products import NONE, Truth

Variant = Literal["lucene", "okapi"]
K1, B = 1.5, 0.75
_FLOOR = 0.25
"""Share of the mean idf that the words of more than half of the originals get."""


def lexical_scores(
    originals: Sequence[str], queries: Sequence[str], variant: Variant = "lucene"
) -> Float64[np.ndarray, "query original"]:
    """Score every original by the words that it shares with each query.

    Args:
        originals: The corpus.
        queries: What is looked for.
        variant: `lucene` or `okapi`.

    Returns:
        Scores; 0 where no word is shared.

    Raises:
        MeasureError: No original has a word, or bm25s is not installed.

    >>> lexical_scores(["a red cat", "a dog", "no"], ["cat"], "okapi").round(2).tolist()
    [[0.42, 0.0, 0.0]]
    """
    if variant == "lucene":
        return _lucene(originals, queries)
    return _okapi(originals, queries)


def best_first(
    scores: Float64[np.ndarray, "query original"], top_k: int | None = None
) -> Int64[np.ndarray, "query candidate"]:
    """Number the originals of each query by score; equal ones keep their order.

    Args:
        scores: Higher is better.
        top_k: How many of each query; all by default (count).

    >>> best_first(np.array([[0.0, 2.0, 0.0, 2.0]]), top_k=3).tolist()
    [[1, 3, 0]]
    """
    return np.argsort(-scores, axis=1, kind="stable")[:, :top_k].astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The originals that each query is compared with.

    Args:
        originals: Numbers of originals, best first.
        holds_truth: By query, whether an original of its class was among the best.
        forced: Numbers of the queries whose last candidate was replaced by their
            original.
    """

    originals: Int64[np.ndarray, "query candidate"]
    holds_truth: tuple[bool, ...]
    forced: tuple[int, ...] = ()


def preselected(
    scores: Float64[np.ndarray, "query original"],
    top_k: int,
    truth: Truth,
    *,
    force_truth: bool = False,
) -> Candidates:
    """Keep the best originals of each query.

    Args:
        scores: Higher is better.
        top_k: How many of each query; `NONE` fills up where there are fewer (count).
        truth: The original behind each query.
        force_truth: Let the original replace the last candidate where no original of
            its class is among the best: a choice of 1 of k, truth always present.

    Returns:
        Candidates, and what the preselection itself found.

    Raises:
        MeasureError: There is no candidate, or a forced one would leave no other.
    """
    if top_k < 1:
        raise MeasureError(f"{top_k} candidates a query are asked for; ask for 1+")
    if force_truth and top_k < 2:
        raise MeasureError(
            "1 candidate a query with the truth forced in is always right; ask for 2+ "
            "candidates (--top-k), or do not force the truth"
        )
    found = best_first(scores, top_k)
    wanted = truth.same[truth.original]
    holds = (truth.same[found] == wanted[:, None]).any(axis=1)
    forced = np.flatnonzero(~holds) if force_truth else np.array([], np.int64)
    found[forced, -1] = truth.original[forced]
    missing = max(top_k - found.shape[1], 0)
    return Candidates(
        originals=np.pad(found, ((0, 0), (0, missing)), constant_values=NONE),
        holds_truth=tuple(holds.tolist()),
        forced=tuple(forced.tolist()),
    )


def all_pairs(
    num_queries: int, num_originals: int
) -> Int64[np.ndarray, "query candidate"]:
    """Every original as a candidate of every query, in order."""
    return np.tile(np.arange(num_originals, dtype=np.int64), (num_queries, 1))


def _lucene(
    originals: Sequence[str], queries: Sequence[str]
) -> Float64[np.ndarray, "query original"]:
    try:
        import bm25s
    except ImportError as error:
        raise MeasureError(
            "BM25 as in Lucene is computed by the library bm25s, which is not "
            "installed; install it with `pip install 'driftmap[similarity]'`, or take "
            "the variant okapi"
        ) from error
    words = [re.findall(r"\w+", text.lower()) for text in originals]
    _must_have_words(words)
    index = bm25s.BM25(k1=K1, b=B, method="lucene")
    index.index(words, show_progress=False)
    scores = np.zeros((len(queries), len(originals)))
    known = {word for text in words for word in text}
    for row, query in zip(scores, queries, strict=True):
        asked = [w for w in re.findall(r"\w+", query.lower()) if w in known]
        if asked:
            row[:] = index.get_scores(asked)
    return scores


def _okapi(
    originals: Sequence[str], queries: Sequence[str]
) -> Float64[np.ndarray, "query original"]:
    words = [text.split() for text in originals]
    _must_have_words(words)
    counts = [Counter(text) for text in words]
    lengths = np.array([len(text) for text in words], dtype=float)
    idf = _okapi_idf(counts)
    damping = K1 * (1 - B + B * lengths / lengths.mean())
    column = {
        word: np.array([count[word] for count in counts], dtype=float)
        for word in {word for query in queries for word in query.split()}
        if word in idf
    }
    scores = np.zeros((len(queries), len(originals)))
    for row, query in zip(scores, queries, strict=True):
        for word in query.split():
            if word in idf:
                tf = column[word]
                row += idf[word] * tf * (K1 + 1) / (tf + damping)
    return scores


def _okapi_idf(counts: Sequence[Counter[str]]) -> dict[str, float]:
    holding = Counter(word for count in counts for word in count)
    num = len(counts)
    idf = {
        word: math.log(num - n + 0.5) - math.log(n + 0.5) for word, n in holding.items()
    }
    least = _FLOOR * sum(idf.values()) / len(idf)
    return {word: least if value < 0 else value for word, value in idf.items()}


def _must_have_words(words: Sequence[Sequence[str]]) -> None:
    if not any(words):
        raise MeasureError(
            "no original has a word, so none can be found by words; take other "
            "candidates"
        )
