"""Which measure gives each score, and what of it waits in memory?"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from driftmap.core.places import Site
from driftmap.families.matrices import effective_weight
from driftmap.load.model import LoadedModel
from driftmap.measure.magnitude import chance, difference, magnitude
from driftmap.measure.snip import Snip, SnipHalves, SnipKind
from driftmap.measure.wanda import Wanda, WandaHalves
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.scoring.bases import base_sha256, base_weights
from driftmap.signals.fold import Fold
from driftmap.signals.scores import HalfScores, Join, Scores, WeightOf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FromSamples:
    """A score that a pass over samples gives.

    Args:
        whole: Over all samples.
        halves: Apart by halves of the samples.
        join: How the halves make the score.
        is_small: Sums of a pass are far smaller than scores: all matrices share one
            pass, and each is scored when it is its turn.
    """

    whole: Fold[Any, Scores]
    halves: Fold[Any, dict[Site, HalfScores]]
    join: Join = "sum"
    is_small: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FromWeights:
    """A score that no sample changes.

    Args:
        at: Gives the scores of a matrix.
    """

    at: Callable[[Site], Tensor]


Measure = FromSamples | FromWeights


def measure_of(study: Study, scoring: ScoringOptions) -> Measure:
    """The measure that gives a score; loads the model of `--base`, if there is one.

    Raises:
        ModelError: That model cannot be loaded or does not fit.
    """
    base = base_weights(study.loaded, scoring)
    return bare_measure(study.loaded, scoring, study.seed, base)


def bare_measure(
    loaded: LoadedModel,
    scoring: ScoringOptions,
    seed: int,
    base: WeightOf | None = None,
) -> Measure:
    """As `measure_of`, with the matrices of `--base` already at hand.

    Args:
        loaded: The scored model.
        scoring: Which score.
        seed: The run's seed.
        base: Gives the matrices that are subtracted; needed for differences alone.
    """
    weight = partial(effective_weight, loaded.model)
    match scoring.score:
        case "magnitude":
            return FromWeights(at=partial(magnitude, weight=weight))
        case "difference":
            assert base is not None, "a difference needs another model"
            return FromWeights(at=partial(difference, weight=weight, base=base))
        case "random":
            return FromWeights(at=partial(chance, seed=seed))
        case "wanda":
            return FromSamples(
                whole=Wanda(weight),
                halves=WandaHalves(weight),
                join=join_of(scoring),
                is_small=True,
            )
        case "snip" | "snip_batch":
            kind = SnipKind(
                factor=scoring.factor, base=base, batch=scoring.score == "snip_batch"
            )
            return FromSamples(
                whole=Snip(weight, kind), halves=SnipHalves(weight, kind)
            )


def planned_measure(loaded: LoadedModel, scoring: ScoringOptions) -> Measure:
    """As `measure_of`, to be asked for sizes alone: no other model is loaded."""
    base = None if scoring.base is None else partial(effective_weight, loaded.model)
    return bare_measure(loaded, scoring, 0, base)


def join_of(scoring: ScoringOptions) -> Join:
    """How two halves make a score."""
    return "root" if scoring.score == "wanda" else "sum"


def score_inputs(study: Study, scoring: ScoringOptions) -> dict[str, object]:
    """All that decides on a score, beside model and samples.

    Raises:
        ModelError: The model of `--base` is missing, or the one that is scored.
    """
    return {
        "score": scoring.score_name,
        "base": base_sha256(study.loaded, scoring),
        "seed": study.seed if scoring.score == "random" else None,
    }
