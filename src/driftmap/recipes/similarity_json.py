"""What do products of gradients that another program computed say of the samples?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.recipes.options import DATA, RUN
from driftmap.recipes.similarity_options import Analysis, AnalysisOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityJson:
    """Analyse products of gradients that were computed elsewhere.

    Reads `dot_products.json` with its energies, or `sample_size_*.json` with cosines
    of full gradients alone, whole or in parts, for one or several sets of queries. No
    model is loaded: a query's original is the one of the same id.
    """

    from_json: Annotated[Path, DATA]
    """Products of gradients in the published JSON shapes, of one model and number of
    samples; looked through whole (folder)."""

    analysis: Analysis = field(default_factory=AnalysisOptions)

    seed: Annotated[int, RUN] = 0
    """Seed of halves and resamples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/similarity-json")
    """Run folder; one with the same settings is reused (path)."""

    def run(self) -> Path:
        """Read, analyse and draw what is not done yet.

        Returns:
            The report.
        """
        from driftmap.recipes.steps.logbook import logged
        from driftmap.recipes.steps.similarity import beside, elsewhere
        from driftmap.recipes.steps.similarity.analysing import Known
        from driftmap.recipes.steps.similarity.concluding import conclude
        from driftmap.store.run_dir import RunDir

        beside.require_beside(self.analysis.beside)
        pairs = elsewhere.read_elsewhere(self.from_json)
        with (
            RunDir.open(self.out, asdict(self), elsewhere.KIND, free=("out",)) as run,
            logged(self.out, elsewhere.KIND),
        ):
            run.note_environment(num_threads=1, device="cpu", dtype="float64")
            measured = elsewhere.import_step(run, self.from_json, pairs)
            return conclude(run, measured, Known(), self.analysis, self.seed)
