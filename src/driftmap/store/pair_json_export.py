"""How do products of pairs go out for other programs, in the published JSON shapes?

What `pair_json` reads, byte for byte: indented by 4, candidates in their order,
parameters by the model's own names. Slices of a fused parameter are summed again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from driftmap.core.errors import StoreError
from driftmap.results.pair_products import NONE, PairProducts
from driftmap.store.json_members import write_members
from driftmap.store.pair_json import ASKED, COSINES, DOT, FOUND, FULL, SETS
from driftmap.store.pair_products import Pairs


def export_pairs(folder: Path, pairs: Pairs, size: str = "full") -> list[Path]:
    """Write products, energies and full cosines of one set of queries.

    A pair without a direction has no cosine and is left out of those.

    Args:
        folder: Where `dot_products/` and `gradient_similarity/` come to lie.
        pairs: Queries of one set; an id stands for query and original.
        size: What the files call the number of samples.

    Returns:
        The files written.

    Raises:
        StoreError: An original has several versions in the set, or the disk refuses.
    """
    products, truth = pairs.products, pairs.truth
    assert len(set(truth.sets)) == 1, "queries of more than one set"
    if len(set(_ids(pairs))) < len(products.queries):
        raise StoreError(
            f"{folder}: an original has several versions in the {truth.sets[0]} set, "
            "which this shape has no names for; export sets of one version each"
        )
    named = {name: place for place, name in SETS.items()}
    setting = named.get(truth.sets[0], truth.sets[0])
    cosines = folder / COSINES / setting / f"sample_size_{size}.json"
    write_members(cosines, _cosines(pairs))
    if products.tensors == (FULL,):
        return [cosines]
    place = folder / DOT / setting / "sample_size" / size
    written = {
        DOT: _dots(pairs),
        ASKED: _rows(_ids(pairs), products.query_energy, products),
        FOUND: _originals(products),
    }
    for name, members in written.items():
        write_members(place / f"{name}.json", members)
    return [*(place / f"{name}.json" for name in written), cosines]


def _ids(pairs: Pairs) -> list[str]:
    """Queries by the ids of their originals, as the shape has it."""
    return [pairs.products.originals[n] for n in pairs.truth.original]


def _cosines(pairs: Pairs) -> Iterator[tuple[str, object]]:
    products = pairs.products
    values = products.cosine()
    for query, name in enumerate(_ids(pairs)):
        yield (
            name,
            {
                products.originals[o]: float(values[query, place])
                for place, o in _candidates(products, query)
            },
        )


def _dots(pairs: Pairs) -> Iterator[tuple[str, object]]:
    products = pairs.products
    merge = _Merge(products)
    for query, name in enumerate(_ids(pairs)):
        of_query = merge.of(np.asarray(products.dot[query]))
        yield (
            name,
            {
                products.originals[o]: of_query[place]
                for place, o in _candidates(products, query)
            },
        )


def _originals(products: PairProducts) -> Iterator[tuple[str, object]]:
    """Originals that were compared with a query, or are known all the same."""
    met = np.zeros(len(products.originals), dtype=bool)
    met[products.candidates[products.candidates != NONE]] = True
    known = met | products.original_energy.any(axis=1)
    rows = _rows(products.originals, products.original_energy, products)
    return (row for row, is_known in zip(rows, known, strict=True) if is_known)


def _rows(
    names: Sequence[str], values: np.ndarray, products: PairProducts
) -> Iterator[tuple[str, object]]:
    yield from zip(names, _Merge(products).of(values), strict=True)


def _candidates(products: PairProducts, query: int) -> list[tuple[int, int]]:
    """Places in the list and numbers of the originals."""
    listed = products.candidates[query].tolist()
    return [(place, o) for place, o in enumerate(listed) if o != NONE]


class _Merge:
    """Sums slices of one parameter."""

    def __init__(self, products: PairProducts) -> None:
        parameters = [place.parameter for place in products.tensors]
        self._names = list(dict.fromkeys(parameters))
        starts = {name: n for n, name in enumerate(self._names)}
        self._of = [starts[name] for name in parameters]

    def of(self, values: np.ndarray) -> list[dict[str, float]]:
        """One row of numbers by parameter for each row of numbers by tensor."""
        if len(self._names) < len(self._of):
            summed = np.zeros((len(values), len(self._names)))
            for tensor, parameter in enumerate(self._of):
                summed[:, parameter] += values[:, tensor]
            values = summed
        return [dict(zip(self._names, row, strict=True)) for row in values.tolist()]
