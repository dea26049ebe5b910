"""How much do the gradients of two samples have in common, tensor by tensor, exactly?

`work` settles how products are formed, `factors` keeps what gradients are made of,
`ghost` multiplies without making them, `pieces` adds without losing digits, `keeper`
holds the queries, `fold` takes the originals, `pairing` says which pairs, and `checks`
which numbers cannot be.
"""

from driftmap.measure.products.checks import require_direction
from driftmap.measure.products.fold import PairFold
from driftmap.measure.products.keeper import QueryKeeper
from driftmap.measure.products.pairing import Pairs, all_pairs
from driftmap.measure.products.pieces import PROMISE
from driftmap.measure.products.work import (
    Form,
    Products,
    TensorKind,
    Workload,
    kept_bytes,
    workload_of,
)

__all__ = [
    "PROMISE",
    "Form",
    "PairFold",
    "Pairs",
    "Products",
    "QueryKeeper",
    "TensorKind",
    "Workload",
    "all_pairs",
    "kept_bytes",
    "require_direction",
    "workload_of",
]
