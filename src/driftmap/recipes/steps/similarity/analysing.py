"""What do products say of the pairs, measure by measure?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from driftmap.core.progress import phase
from driftmap.core.seeds import child_seed
from driftmap.recipes.similarity_options import AnalysisOptions
from driftmap.recipes.steps.similarity.files import ERRORS, products_file
from driftmap.recipes.steps.similarity.projected import projections_of
from driftmap.recipes.steps.similarity.tables import write_tables
from driftmap.results.baselines import Baseline, Beside
from driftmap.results.pair_products import PairProducts
from driftmap.results.plain import from_plain
from driftmap.results.retrieval import RetrievalSettings, RetrievalStudy
from driftmap.results.similarity_study import GRADIENTS, MeasureStudy
from driftmap.stats.retrieval.study import study_pairs
from driftmap.store.pair_products import Pairs, load_pairs
from driftmap.store.plain import load_json, save_json
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

STEP = "statistics"
RESULT_FILE, RESULT_KIND = "statistics.json", "driftmap.similarity"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measured:
    """Products of one measure.

    Args:
        step: The step that wrote them.
        names: Of its files; several where sets of queries lie apart.
    """

    step: StepOutcome
    names: tuple[str, ...]

    def read(self) -> tuple[Pairs, ...]:
        """Read all of them; products stay on disk."""
        files = [products_file(name) for name in self.names]
        return tuple(load_pairs(self.step.path(file)) for file in files)

    def errors(self) -> Float64[np.ndarray, "query candidate tensor"] | None:
        """Standard errors of products that are estimates; None of exact ones."""
        if ERRORS not in self.step.files:
            return None
        return np.load(self.step.path(ERRORS), mmap_mode="r")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """What is known of the pairs besides products.

    Args:
        baselines: Other orders of the candidates.
        flags: Query id -> what is wrong with it.
        forced: Queries whose truth was put among the candidates; None where none
            could be.
    """

    baselines: tuple[Baseline, ...] = ()
    flags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    forced: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measures:
    """What the file holds."""

    measures: tuple[MeasureStudy, ...]


def analysis_step(
    run: RunDir,
    measured: Mapping[str, Measured],
    known: Known,
    options: AnalysisOptions,
    seed: int,
) -> StepOutcome:
    """Write `statistics.json`, with all that is reported of every measure, and tables.

    Args:
        run: The run.
        measured: Measure -> its products.
        known: Baselines and flags.
        options: How it is analysed.
        seed: The run's seed.
    """

    def make(folder: Path) -> None:
        studies = tuple(
            _studied(name, measured, known, options, seed) for name in measured
        )
        save_json(folder / RESULT_FILE, _Measures(measures=studies), RESULT_KIND)
        for measure in studies:
            write_tables(folder, measure.name.replace(", ", "-"), measure.study)

    inputs = {
        "of": {name: of_one.step.key for name, of_one in measured.items()},
        "known": _plain(known),
        "resamples": options.resamples,
        "holdout": options.holdout,
        "ties": options.ties,
        "seed": seed,
    }
    return run.step(STEP, inputs, make)


def load_studies(path: Path) -> tuple[MeasureStudy, ...]:
    """Read `statistics.json`."""
    return from_plain(_Measures, load_json(path, RESULT_KIND)).measures


def _studied(
    name: str,
    measured: Mapping[str, Measured],
    known: Known,
    options: AnalysisOptions,
    seed: int,
) -> MeasureStudy:
    others = [one for one in measured if one != name and name == GRADIENTS]
    orders = tuple(_order(one, measured[one].read()[0].products) for one in others)
    settings = RetrievalSettings(
        ties=options.ties,
        forced=known.forced is not None,
        holdout=options.holdout,
        num_resamples=options.resamples,
    )
    found = []
    with phase(f"analyse {name}"):
        for pairs in measured[name].read():
            random = _random_order(pairs.products, seed)
            beside = Beside(
                baselines=(*known.baselines, *orders, random),
                projections=projections_of(measured[name].step, pairs),
                dot_error=measured[name].errors(),
                flags=known.flags,
                forced=known.forced,
            )
            found.append(
                study_pairs(
                    pairs.products, pairs.truth, settings, seed=seed, beside=beside
                )
            )
    return MeasureStudy(name=name, study=_joined(found))


def _joined(studies: Sequence[RetrievalStudy]) -> RetrievalStudy:
    sets = tuple(of_set for study in studies for of_set in study.sets)
    return replace(studies[0], sets=sets)


def _order(name: str, products: PairProducts) -> Baseline:
    """Another measure's full cosine; what has no direction comes last."""
    return Baseline(name=name, scores=np.nan_to_num(products.cosine(), nan=-2.0))


def _random_order(products: PairProducts, seed: int) -> Baseline:
    random = np.random.default_rng(child_seed(seed, "random order"))
    return Baseline(
        name="random order", scores=random.random(products.candidates.shape)
    )


def _plain(known: Known) -> Mapping[str, object]:
    return {
        "baselines": [_digest(one) for one in known.baselines],
        "flags": {name: list(said) for name, said in known.flags.items()},
        "forced": None if known.forced is None else list(known.forced),
    }


def _digest(baseline: Baseline) -> str:
    parts = [part for part in (baseline.scores, baseline.ranks) if part is not None]
    content = b"".join(part.tobytes() for part in parts)
    return f"{baseline.name} {hashlib.sha256(content).hexdigest()}"
