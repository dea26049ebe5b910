"""How are the scores of one data set written, whole and as a group?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from driftmap.core.places import Site
from driftmap.core.shortage import explained
from driftmap.recipes.options import ScoringOptions
from driftmap.recipes.picking_options import PickingOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.single import rule_of
from driftmap.recipes.steps.needs.remedies import for_scoring
from driftmap.recipes.steps.scoring.halves import effects_alone, whole_scores
from driftmap.recipes.steps.scoring.kinds import measure_of, score_inputs
from driftmap.recipes.steps.scoring.sharing import ScoreWork, Sharing
from driftmap.recipes.steps.scoring.units import UnitsBeside
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.samples import EncodedSample
from driftmap.store.groups import save_group
from driftmap.store.scores import open_scores, save_scores
from driftmap.store.steps import StepOutcome

STEP = "scores"
"""The step that keeps scores: other groups of them need no pass over the data."""


def score_step(
    study: Study,
    data: tuple[Sequence[EncodedSample], str],
    scoring: ScoringOptions,
    picking: PickingOptions,
    *,
    keep: bool,
    sharing: Sharing | None = None,
) -> StepOutcome:
    """Write a group, `groups/NAME.safetensors`, and, if asked, all scores beside it.

    Units other than weights are scored as these go by.

    Args:
        study: Folder, model and seed.
        data: Encoded samples, and their hash as encoded.
        scoring: How weights are scored.
        picking: Which weights, and which units, are a group.
        keep: Whether all scores are kept, `scores/SCORE-*.safetensors`.
        sharing: Where the samples are read; None for this process alone.

    Raises:
        MeasureError: The model has no such units.
    """
    encoded, sha256 = data
    identity, rule = study.loaded.identity, rule_of(picking)
    beside = _beside(study, encoded, scoring, picking)
    of_scores = scores_inputs(study, sha256, scoring)
    shared = _shared(sharing, encoded, scoring, picking, of_scores)
    scored = partial(_scores, study, encoded, scoring, beside, shared)
    files = _keep(study, scored, scoring, of_scores) if keep else None

    def make(folder: Path) -> None:
        found = files or study.run.find(STEP, of_scores)
        with explained("scoring", for_scoring(scoring)):
            if found and beside and not beside.has_read:
                effects_alone(study.loaded, encoded, scoring, beside)
            scores = _kept(found) if found else scored()
            parts = beside.watching(scores) if beside else scores
            members = rule.members(study.loaded.layout.sites, parts)
        origin = GroupOrigin(
            model_sha256=identity.sha256,
            base_sha256=identity.base_sha256,
            rule=rule.name,
            score=scoring.score_name,
            shares=rule.shares,
            samples_sha256={"data": sha256} if scoring.reads_samples else {},
            positions=scoring.positions if scoring.reads_samples else "",
            per=rule.of_what,
        )
        group = WeightGroup(name=rule.name, members=members, origin=origin)
        save_group(folder / f"groups/{rule.name}.safetensors", group)
        if beside is not None:
            beside.save(folder, origin, picking.share, is_lowest=picking.lowest)

    outcome = study.run.step("score", {**of_scores, **asdict(picking)}, make)
    if sharing is not None:
        sharing.finish()
    return outcome


def scores_inputs(
    study: Study, sha256: str, scoring: ScoringOptions
) -> dict[str, object]:
    """All that the scores of one data set depend on.

    Args:
        study: Model and seed.
        sha256: Hash of the samples as encoded.
        scoring: How weights are scored.
    """
    identity = study.loaded.identity
    return {
        **score_inputs(study, scoring),
        "model": identity.sha256,
        "dtype": identity.dtype,
        "data": sha256,
        "num_samples": scoring.num_samples,
        "positions": scoring.positions,
        "seed": study.seed,
    }


def share_part(
    study: Study,
    data: tuple[Sequence[EncodedSample], str],
    scoring: ScoringOptions,
    picking: PickingOptions,
    sharing: Sharing,
) -> None:
    """Add up over a part of the samples, for `driftmap merge` to join with others."""
    encoded, sha256 = data
    inputs = scores_inputs(study, sha256, scoring)
    shared = _shared(sharing, encoded, scoring, picking, inputs)
    assert shared is not None, "there is something to share"
    with explained("scoring", for_scoring(scoring)):
        sharing.make(study.loaded, shared[1])


def _shared(
    sharing: Sharing | None,
    encoded: Sequence[EncodedSample],
    scoring: ScoringOptions,
    picking: PickingOptions,
    inputs: Mapping[str, object],
) -> tuple[Sharing, ScoreWork] | None:
    if sharing is None:
        return None
    work = ScoreWork(
        source=sharing.source,
        encoded=tuple(encoded),
        scoring=scoring,
        grain=picking.grain,
        inputs={**inputs, "grain": picking.grain},
        num_sharing=sharing.options.workers or 1,
    )
    return sharing, work


def _beside(
    study: Study,
    encoded: Sequence[EncodedSample],
    scoring: ScoringOptions,
    picking: PickingOptions,
) -> UnitsBeside | None:
    if picking.grain == "weight":
        return None
    sites = study.loaded.layout.sites
    return UnitsBeside(sites, picking.grain, scoring, len(encoded))


def _keep(
    study: Study,
    scored: Callable[[], Iterator[dict[Site, Tensor]]],
    scoring: ScoringOptions,
    inputs: Mapping[str, object],
) -> StepOutcome:
    def make(folder: Path) -> None:
        with explained("scoring", for_scoring(scoring)):
            for number, scores in enumerate(scored()):
                file = folder / f"scores/{scoring.score_name}-{number:03d}.safetensors"
                save_scores(file, _plain(scores), inputs)

    return study.run.step(STEP, inputs, make)


def _scores(
    study: Study,
    encoded: Sequence[EncodedSample],
    scoring: ScoringOptions,
    beside: UnitsBeside | None,
    shared: tuple[Sharing, ScoreWork] | None,
) -> Iterator[dict[Site, Tensor]]:
    measure = measure_of(study, scoring)
    if shared is None:
        yield from whole_scores(study.loaded, encoded, scoring, measure, beside)
    else:
        sharing, work = shared
        yield from sharing.scores(study.loaded, work, measure, beside)


def _kept(step: StepOutcome) -> Iterator[dict[Site, Tensor]]:
    """Read scores matrix by matrix, each opened alone so that its pages go again."""
    for name in step.files:
        with open_scores(step.path(name)) as file:
            sites = file.sites
        for site in sites:
            with open_scores(step.path(name)) as file:
                yield {site: torch.from_numpy(file.at(site))}


def _plain(scores: Mapping[Site, Tensor]) -> dict[Site, np.ndarray]:
    return {site: of_site.cpu().numpy() for site, of_site in scores.items()}
