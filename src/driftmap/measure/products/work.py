"""Is it cheaper to make a gradient, or to multiply without making it?

Two samples of T tokens cost `T^2 (i + o)` without; made, they cost `i o (T + N)` with
N of the other side. Which of the two a tensor goes by is settled from the whole run, so
that a part of the run goes the same way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int64

from driftmap.results.pair_products import NONE

Products = Literal["auto", "ghost", "materialise"]

Form = Literal["ghost", "materialise"]

TensorKind = Literal["map", "table", "tied", "vector"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Sizes of the whole run, whatever part of it this is.

    Args:
        paired: Queries that an original is compared with (mean count).
        query_tokens: Tokens of a query (mean count).
        original_tokens: Tokens of an original (mean count).
    """

    paired: float
    query_tokens: float
    original_tokens: float


def workload_of(
    candidates: Int64[np.ndarray, "query candidate"],
    query_lengths: Sequence[int],
    original_lengths: Sequence[int],
) -> Workload:
    """Sizes of a run.

    Args:
        candidates: Numbers of the originals of every query; `NONE` fills up.
        query_lengths: Tokens per query (count).
        original_lengths: Tokens per original (count).

    >>> workload_of(np.array([[0, 1], [1, -1]]), [4, 6], [8, 8]).paired
    1.5
    """
    return Workload(
        paired=float((candidates != NONE).sum()) / max(1, len(original_lengths)),
        query_tokens=float(np.mean(query_lengths)),
        original_tokens=float(np.mean(original_lengths)),
    )


def cheaper_form(shape: tuple[int, int], workload: Workload, num_tokens: float) -> Form:
    """Ghost iff `N Tq To (i + o) < i o (To + N)`.

    Args:
        shape: Rows o and columns i of the tensor.
        workload: Sizes of the whole run.
        num_tokens: Tokens of a sample that the tensor sees at most (count): few at the
            head and at an expert.

    >>> small = Workload(paired=1, query_tokens=8, original_tokens=8)
    >>> cheaper_form((64, 64), small, num_tokens=8)
    'ghost'
    >>> cheaper_form((8, 8), small, num_tokens=8)
    'materialise'
    """
    height, width = shape
    asked = min(workload.query_tokens, num_tokens)
    found = min(workload.original_tokens, num_tokens)
    ghost = workload.paired * asked * found * (height + width)
    made = height * width * (found + workload.paired)
    return "ghost" if ghost < made else "materialise"


def table_form(height: int, workload: Workload) -> Form:
    """A table that few rows make up is made whole; of others, rows are kept.

    >>> small = Workload(paired=1, query_tokens=8, original_tokens=8)
    >>> table_form(16, small), table_form(50_000, small)
    ('materialise', 'ghost')
    """
    return "materialise" if height <= 2 * workload.query_tokens else "ghost"


def kept_bytes(
    kind: TensorKind,
    shape: Sequence[int],
    num_queries: int,
    workload: Workload,
    products: Products = "auto",
) -> int:
    """Memory that the gradients of some queries take, of one tensor.

    Args:
        kind: A map, a table, a table that is the head as well, or a vector.
        shape: Of the tensor: rows and columns, or its length.
        num_queries: Queries that are kept at a time (count).
        workload: Sizes of the whole run.
        products: How the user wants products to be formed.

    >>> small = Workload(paired=9, query_tokens=8, original_tokens=8)
    >>> kept_bytes("map", (16, 16), 2, small)
    2048
    """
    height, *rest = shape
    width = rest[0] if rest else 1
    tokens = round(workload.query_tokens)
    if settled_form(kind, (height, width), workload, products) == "materialise":
        return 4 * num_queries * height * width
    outer = 4 * tokens * (height + width) if kind in ("map", "tied") else 0
    rows = tokens * (4 * width + 16) if kind in ("table", "tied") else 0
    return num_queries * (outer + rows)


def settled_form(
    kind: TensorKind,
    shape: tuple[int, int],
    workload: Workload,
    products: Products,
    num_tokens: float = np.inf,
) -> Form:
    """How one tensor's products are formed in this run."""
    if kind == "vector":
        return "materialise"
    if products != "auto":
        return products
    if kind == "table":
        return table_form(shape[0], workload)
    return cheaper_form(shape, workload, num_tokens)
