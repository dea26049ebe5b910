"""Which tensors and layers tell that two samples mean the same?"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated

from driftmap.core.progress import phase
from driftmap.load.source import ModelSource
from driftmap.recipes.engine_options import Engine, EngineOptions
from driftmap.recipes.options import DATA, MODEL, RUN, renamed
from driftmap.recipes.similarity_options import (
    FREE,
    REDOES,
    Analysis,
    AnalysisOptions,
    CandidateOptions,
    Candidates,
    ProductOptions,
    Products,
    SampleOptions,
    Samples,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Similarity:
    """Which tensors and layers of a model tell that two samples mean the same?

    Takes samples and other versions of them: paraphrases, or the model's own answers.
    Compares the gradient of each version's loss with those of the originals, tensor by
    tensor and exactly, and looks which tensors, layers and parts find the original
    behind a version, how far above chance, and how few of them say as much as all.
    Hidden states and shared words stand beside it. `driftmap similarity --from-json
    FOLDER` analyses products that were computed elsewhere.
    """

    source: Annotated[ModelSource, MODEL]

    data: Annotated[str, DATA]
    """Original samples: requests with answers (file, known name, hub name or
    FILE.py:FUNCTION)."""

    queries: Annotated[tuple[str, ...], DATA] = ()
    """Other versions of those samples, joined by `original_id` (file, known name, hub
    name or FILE.py:FUNCTION; may be repeated, once per version); by default those that
    `--data` holds in columns of its own."""

    columns: Annotated[str | None, DATA] = None
    """Your files' columns by the names that driftmap knows, as in
    `prompt=question,response=answer` (pairs); by default they are recognised."""

    samples: Samples = field(default_factory=SampleOptions)

    products: Products = field(default_factory=ProductOptions)

    candidates: Candidates = field(default_factory=CandidateOptions)

    analysis: Analysis = field(default_factory=AnalysisOptions)

    engine: Engine = field(default_factory=EngineOptions)

    seed: Annotated[int, RUN] = 0
    """Seed of what is drawn: samples, projections, halves, resamples (integer)."""

    out: Annotated[Path, RUN] = Path("runs/similarity")
    """Run folder; one with the same settings is resumed (path)."""

    def __post_init__(self) -> None:
        """Refuse what would be refused after long work.

        Raises:
            UsageError: Columns are no pairs.
        """
        renamed(self.columns)

    def run(self) -> Path | str:
        """Compare what is not compared yet.

        Returns:
            The report; with `--partition` the run folder, with `--print-slurm` the
            script.
        """
        from driftmap.load.paired_sets import Taking, read_pairs
        from driftmap.recipes.steps import beforehand, submitting
        from driftmap.recipes.steps.similarity import beside

        if self.engine.print_slurm:
            return submitting.slurm_script(self, "similarity", self.engine)
        beside.require_beside(self.analysis.beside)
        taking = Taking(
            num_samples=self.samples.num_samples,
            seed=self.seed,
            loss_on=self.samples.loss_on,
            columns=renamed(self.columns),
        )
        pairs = read_pairs(self.data, self.queries, taking)
        beforehand.require_folder(asdict(self), "similarity", (*FREE, *REDOES))
        with phase("load the model"):
            from driftmap.load.model import load_model
            from driftmap.recipes.steps import sharing_out
            from driftmap.recipes.steps.similarity import carrying

            loaded = load_model(sharing_out.source_here(self.source, self.engine))
        plan = carrying.SimilarityPlan(
            products=self.products,
            candidates=self.candidates,
            analysis=self.analysis,
            samples=self.samples,
            engine=self.engine,
            source=self.source,
        )
        return carrying.carry_out(loaded, pairs, plan, asdict(self))
