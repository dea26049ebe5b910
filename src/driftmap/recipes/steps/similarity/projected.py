"""What did random projections that another program computed say of the same pairs?"""

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from driftmap.recipes.steps.similarity.files import products_file
from driftmap.results.baselines import Projection
from driftmap.results.pair_products import NONE, PairProducts
from driftmap.store.pair_products import Pairs, load_pairs, save_pairs
from driftmap.store.steps import StepOutcome

_FILE = re.compile(re.escape(products_file("projected-@")).replace("@", r"(.+)-(\d+)"))


def save_projections(
    folder: Path, projections: Mapping[str, Mapping[int, Pairs]]
) -> None:
    """Keep cosines of projections beside the products of their set.

    Args:
        folder: Of the step that makes them.
        projections: Set of queries -> total size -> cosines.
    """
    for set_name, sizes in projections.items():
        for size, one in sizes.items():
            file = folder / products_file(f"projected-{set_name}-{size}")
            save_pairs(file, one.products, one.truth)


def projections_of(step: StepOutcome, pairs: Pairs) -> tuple[Projection, ...]:
    """Find the projections of a set of queries, on its own candidates.

    Args:
        step: The step that kept them.
        pairs: Products of one set.
    """
    sizes = sorted(
        int(kept[2])
        for file in step.files
        if (kept := _FILE.fullmatch(file)) and kept[1] == pairs.truth.sets[0]
    )
    return tuple(
        Projection(
            name=f"{size:,} numbers",
            num_stored=size,
            cosine=_on_candidates(pairs.products, _cosines(step, pairs, size)),
        )
        for size in sizes
    )


def _cosines(
    step: StepOutcome, pairs: Pairs, size: int
) -> dict[tuple[str, str], float]:
    """Cosine of each pair that was projected, by the ids of query and original."""
    name = products_file(f"projected-{pairs.truth.sets[0]}-{size}")
    products = load_pairs(step.path(name)).products
    values = products.cosine()
    return {
        (products.queries[query], products.originals[original]): float(value)
        for query, row in enumerate(products.candidates.tolist())
        for original, value in zip(row, values[query], strict=True)
        if original != NONE
    }


def _on_candidates(
    products: PairProducts, known: Mapping[tuple[str, str], float]
) -> np.ndarray:
    """The same in the order of these candidates; NaN where one is not known."""
    return np.array(
        [
            [
                np.nan
                if original == NONE
                else known.get((query, products.originals[original]), np.nan)
                for original in row
            ]
            for query, row in zip(
                products.queries, products.candidates.tolist(), strict=True
            )
        ]
    )
