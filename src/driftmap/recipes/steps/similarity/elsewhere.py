"""How do products that another program computed come into a run?"""

from collections.abc import Iterable
from pathlib import Path

from driftmap.families.tensor_names import place_of_name
from driftmap.recipes.steps.similarity.analysing import Measured
from driftmap.recipes.steps.similarity.files import products_file
from driftmap.recipes.steps.similarity.projected import save_projections
from driftmap.results.similarity_study import GRADIENTS
from driftmap.store.files import sha256_of
from driftmap.store.pair_json import import_pairs, import_projections
from driftmap.store.pair_products import Pairs, save_pairs
from driftmap.store.run_dir import RunDir

KIND = "similarity-json"
STEP = "gradients"


def read_elsewhere(folder: Path) -> tuple[Pairs, ...]:
    """Read all sets of queries that lie under a folder, before a run begins."""
    return import_pairs(folder, place_of_name)


def import_step(
    run: RunDir, folder: Path, pairs: Iterable[Pairs]
) -> dict[str, Measured]:
    """Keep imported products as those that are computed here are kept.

    Sets that speak of the same originals and tensors are one measure.

    Args:
        run: The run.
        folder: Where they were read from.
        pairs: One per set of queries.

    Returns:
        Measure -> its products.
    """
    names = {f"{GRADIENTS}-{one.truth.sets[0]}": one for one in pairs}

    def make(made: Path) -> None:
        for name, one in names.items():
            file = made / products_file(name)
            file.parent.mkdir(exist_ok=True)
            save_pairs(file, one.products, one.truth)
        save_projections(made, import_projections(folder))

    files = sorted(folder.rglob("*.json"))
    digests = {file.relative_to(folder).as_posix(): sha256_of(file) for file in files}
    run.note_inputs(digests)
    step = run.step(STEP, {"json": digests}, make)
    together = {
        (one.products.originals, one.products.tensors) for one in names.values()
    }
    if len(together) == 1:
        return {GRADIENTS: Measured(step=step, names=tuple(names))}
    return {
        f"{GRADIENTS}, {one.truth.sets[0]}": Measured(step=step, names=(name,))
        for name, one in names.items()
    }
