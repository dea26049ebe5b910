"""Are scores kept in the run folder, and are they there already?

Kept scores are a step of their own. They depend on the model and the samples and not
on any share, so that other groups of them need no pass over the data.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.core.shortage import explained
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import Encoded, ScoringData
from driftmap.recipes.steps.needs.remedies import for_scoring
from driftmap.recipes.steps.scoring.halves import (
    OfMatrix,
    plain_halves,
    read_halves,
    score_halves,
)
from driftmap.recipes.steps.scoring.kinds import (
    Measure,
    join_of,
    measure_of,
    score_inputs,
)
from driftmap.recipes.steps.scoring.passes import Spill
from driftmap.recipes.steps.scoring.shared_halves import HalvesWork, SharingHalves
from driftmap.signals.scores import HalfScores
from driftmap.store.scores import writing_halves
from driftmap.store.steps import StepOutcome

STEP = "scores"
"""The step that keeps scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePlaces:
    """Where scores are made, and where they may go on their way to groups.

    Args:
        keep: Whether they stay in the run folder.
        scratch: Folder for temporary files that the user chose, if any.
        sharing: Where the samples are read; None for this process alone.
    """

    keep: bool = False
    scratch: Path | None = None
    sharing: SharingHalves | None = None


ALONE = ScorePlaces()
"""In this process; scores never reach the run folder."""


def scores_inputs(
    study: Study, data: ScoringData, scoring: ScoringOptions
) -> dict[str, object]:
    """All that scores depend on.

    Raises:
        ModelError: The model of `--base` is missing, or the one that is scored.
    """
    identity = study.loaded.identity
    return {
        **score_inputs(study, scoring),
        "model": identity.sha256,
        "dtype": identity.dtype,
        "data": data.sha256,
        "num_samples": scoring.num_samples,
        "positions": scoring.positions,
    }


def keep_scores(
    study: Study,
    data: ScoringData,
    scoring: ScoringOptions,
    places: ScorePlaces = ALONE,
) -> StepOutcome:
    """Keep the scores of both data sets, `scores/NAME.safetensors`, once."""
    inputs = scores_inputs(study, data, scoring)
    sites = study.loaded.layout.sites

    def make(folder: Path) -> None:
        measure = measure_of(study, scoring)
        for name in _sets(data):
            file = folder / _file(name)
            with (
                explained("scoring", for_scoring(scoring)),
                writing_halves(file, sites, inputs) as write,
            ):
                scores = _scored(study, data, scoring, places, measure, (name,))
                for site, (halves,) in scores:
                    assert isinstance(halves, HalfScores), "no sample, no halves"
                    write(site, plain_halves(halves))

    return study.run.step(STEP, inputs, make)


def scores_of_both(
    study: Study,
    data: ScoringData,
    scoring: ScoringOptions,
    places: ScorePlaces,
    kept: StepOutcome | None,
) -> Generator[OfMatrix, None, None]:
    """Give every matrix with its scores on behaviour and on utility.

    Close it where it may not be read to the end.

    Args:
        study: Folder and model.
        data: Samples of both.
        scoring: How they are scored where no scores are kept.
        places: Where scores may wait.
        kept: What `keep_scores` gave; without it, scores that an earlier command
            kept are taken where they fit.
    """
    inputs = scores_inputs(study, data, scoring)
    found = kept or study.run.find(STEP, inputs)
    if found is None:
        measure, both = measure_of(study, scoring), tuple(_sets(data))
        yield from _scored(study, data, scoring, places, measure, both)
        return
    join = join_of(scoring)
    files = [found.path(_file(name)) for name in _sets(data)]
    for site in study.loaded.layout.sites:
        yield site, tuple(read_halves(file, site, join) for file in files)


def _scored(
    study: Study,
    data: ScoringData,
    scoring: ScoringOptions,
    places: ScorePlaces,
    measure: Measure,
    names: Sequence[str],
) -> Generator[OfMatrix, None, None]:
    sets, sharing = _sets(data), places.sharing
    if sharing is None:
        asked = [sets[name] for name in names]
        spill = Spill(run=study.run.path, chosen=places.scratch)
        yield from score_halves(study.loaded, asked, scoring, measure, spill)
        return
    work = HalvesWork(
        source=sharing.source,
        sets=sets,
        scoring=scoring,
        inputs=scores_inputs(study, data, scoring),
        num_sharing=sharing.options.workers or 1,
    )
    yield from sharing.scores(study.loaded, work, measure, names)


def _sets(data: ScoringData) -> dict[str, Encoded]:
    return {"behaviour": data.behaviour, "utility": data.utility}


def _file(name: str) -> str:
    return f"scores/{name}.safetensors"
