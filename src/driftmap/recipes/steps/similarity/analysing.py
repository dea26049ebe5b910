"""What do products say of the pairs, measure by measure?"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from driftmap.core.progress import phase
from driftmap.core.seeds import child_seed
from driftmap.recipes.similarity_options import AnalysisOptions
from driftmap.recipes.steps.similarity.compared import PRODUCTS
from driftmap.results.baselines import Baseline, Beside
from driftmap.results.pair_products import PairProducts
from driftmap.results.plain import from_plain
from driftmap.results.retrieval import RetrievalSettings
from driftmap.results.similarity_study import GRADIENTS, MeasureStudy
from driftmap.stats.retrieval.study import study_pairs
from driftmap.store.pair_products import Pairs, load_pairs
from driftmap.store.plain import load_json, save_json
from driftmap.store.run_dir import RunDir
from driftmap.store.steps import StepOutcome

STEP = "statistics"
RESULT_FILE, RESULT_KIND = "statistics.json", "driftmap.similarity"
ERRORS = "gradient-errors.npy"
"""Standard errors of sketched products, beside these."""


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
    measured: Mapping[str, StepOutcome],
    known: Known,
    options: AnalysisOptions,
    seed: int,
) -> StepOutcome:
    """Write `statistics.json` and the tables of every measure.

    Args:
        run: The run.
        measured: Measure -> the step that wrote its products.
        known: Baselines and flags.
        options: How it is analysed.
        seed: The run's seed.
    """

    def make(folder: Path) -> None:
        pairs = {
            name: load_pairs(step.path(f"{PRODUCTS}/{name}.safetensors"))
            for name, step in measured.items()
        }
        studies = tuple(
            _study(name, pairs, _errors(step), known, options, seed)
            for name, step in measured.items()
        )
        save_json(folder / RESULT_FILE, _Measures(measures=studies), RESULT_KIND)

    inputs = {
        "of": {name: step.key for name, step in measured.items()},
        "known": _plain(known),
        "resamples": options.resamples,
        "holdout": options.holdout,
        "ties": options.ties,
        "seed": seed,
    }
    return run.step(STEP, inputs, make)


def load_studies(step: StepOutcome) -> tuple[MeasureStudy, ...]:
    """Read what the step wrote."""
    plain = load_json(step.path(RESULT_FILE), RESULT_KIND)
    return from_plain(_Measures, plain).measures


def _study(
    name: str,
    pairs: Mapping[str, Pairs],
    errors: np.ndarray | None,
    known: Known,
    options: AnalysisOptions,
    seed: int,
) -> MeasureStudy:
    products, truth = pairs[name].products, pairs[name].truth
    others = [other for other in pairs if other != name and name == GRADIENTS]
    beside = Beside(
        baselines=(
            *known.baselines,
            *(_order(other, pairs[other].products) for other in others),
            _random_order(products, seed),
        ),
        dot_error=errors,
        flags=known.flags,
        forced=known.forced,
    )
    settings = RetrievalSettings(
        ties=options.ties,
        forced=known.forced is not None,
        holdout=options.holdout,
        num_resamples=options.resamples,
    )
    with phase(f"analyse {name}"):
        found = study_pairs(products, truth, settings, seed=seed, beside=beside)
    return MeasureStudy(name=name, study=found)


def _order(name: str, products: PairProducts) -> Baseline:
    """Another measure's full cosine; what has no direction comes last."""
    return Baseline(name=name, scores=np.nan_to_num(products.cosine(), nan=-2.0))


def _random_order(products: PairProducts, seed: int) -> Baseline:
    random = np.random.default_rng(child_seed(seed, "random order"))
    return Baseline(
        name="random order", scores=random.random(products.candidates.shape)
    )


def _errors(step: StepOutcome) -> np.ndarray | None:
    name = f"{PRODUCTS}/{ERRORS}"
    return np.load(step.path(name), mmap_mode="r") if name in step.files else None


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
