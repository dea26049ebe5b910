"""What do products end in? Numbers, files for other programs, and a report."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from driftmap.core.progress import say
from driftmap.recipes.similarity_options import AnalysisOptions
from driftmap.recipes.steps.pages import REPORT
from driftmap.recipes.steps.reports import report_step
from driftmap.recipes.steps.similarity.analysing import Known, Measured, analysis_step
from driftmap.results.pair_products import PairProducts, Truth
from driftmap.results.similarity_study import GRADIENTS
from driftmap.store.pair_json_export import export_pairs
from driftmap.store.pair_products import Pairs
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome


def conclude(
    run: RunDir,
    measured: Mapping[str, Measured],
    known: Known,
    options: AnalysisOptions,
    seed: int,
) -> Path:
    """Do all that follows once products are there.

    Args:
        run: The run.
        measured: Measure -> its products.
        known: Baselines and flags.
        options: What is made of the products.
        seed: The run's seed.

    Returns:
        The report.
    """
    analysis_step(run, measured, known, options, seed)
    if options.export_json:
        if GRADIENTS in measured:
            export_step(run, measured[GRADIENTS])
        else:
            say("--export-json: no gradients were compared, so nothing is exported")
    return report_step(run).path(REPORT)


def export_step(run: RunDir, measured: Measured) -> StepOutcome:
    """Write `json/`: products of gradients in the published shapes, set by set."""

    def make(folder: Path) -> None:
        for pairs in measured.read():
            for name in dict.fromkeys(pairs.truth.sets):
                export_pairs(folder / "json", _of_set(pairs, name))

    return run.step("export", {"of": measured.step.key}, make)


def _of_set(pairs: Pairs, name: str) -> Pairs:
    """The queries of one set."""
    products, truth = pairs.products, pairs.truth
    rows = np.flatnonzero(np.array(truth.sets) == name)
    return Pairs(
        products=PairProducts(
            queries=tuple(products.queries[row] for row in rows),
            originals=products.originals,
            candidates=products.candidates[rows],
            tensors=products.tensors,
            dot=products.dot[rows],
            query_energy=products.query_energy[rows],
            original_energy=products.original_energy,
            provenance=products.provenance,
        ),
        truth=Truth(
            original=truth.original[rows], same=truth.same, sets=(name,) * len(rows)
        ),
    )
