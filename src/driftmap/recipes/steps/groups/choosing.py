"""Which weights stand for the behaviour, and which are they compared with?"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.core.scratch import clear_leftovers, require_scratch
from driftmap.core.shortage import explained
from driftmap.recipes.options import GroupOptions, ScoringOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import ScoringData
from driftmap.recipes.steps.groups.controls import matched_control, random_control
from driftmap.recipes.steps.groups.files import (
    read_groups,
    save_grid,
    save_groups,
    save_overlaps,
)
from driftmap.recipes.steps.groups.overlaps import overlaps_of
from driftmap.recipes.steps.groups.taking import Choice, Chosen
from driftmap.recipes.steps.needs.remedies import for_scoring
from driftmap.recipes.steps.scoring.halves import OfMatrix
from driftmap.recipes.steps.scoring.kept import (
    ALONE,
    ScorePlaces,
    keep_scores,
    scores_inputs,
    scores_of_both,
)
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.rules import DECLARED
from driftmap.store.steps import StepOutcome


def group_step(
    study: Study,
    data: ScoringData,
    scoring: ScoringOptions,
    groups: GroupOptions,
    mobile: Sequence[Site],
    places: ScorePlaces = ALONE,
) -> StepOutcome:
    """Score both data sets, or read their kept scores, and write the groups, once.

    Args:
        study: Folder, model and seed.
        data: Samples of behaviour and utility.
        scoring: How weights are scored.
        groups: Which shares are taken.
        mobile: Matrices that tuning can move; only there is a control drawn.
        places: Where scores are made and may go; by default they never reach the run
            folder.
    """
    identity = study.loaded.identity
    inputs = {
        **scores_inputs(study, data, scoring),
        "groups": asdict(groups),
        "mobile": [site.key for site in mobile],
        "seed": study.seed,
    }
    require_scratch(places.scratch)
    clear_leftovers(study.run.path, places.scratch)
    kept = keep_scores(study, data, scoring, places) if places.keep else None

    def make(folder: Path) -> None:
        with (
            explained("scoring", for_scoring(scoring)),
            closing(scores_of_both(study, data, scoring, places, kept)) as scores,
        ):
            choice = _choose(study.loaded.layout.sites, scores, groups)
        origin = GroupOrigin(
            model_sha256=identity.sha256,
            base_sha256=identity.base_sha256,
            rule="top",
            score=scoring.score_name,
            shares={"share": groups.share},
            samples_sha256=data.sha256 if scoring.reads_samples else {},
            positions=scoring.positions if scoring.reads_samples else "",
            per=groups.per,
        )
        scored = _scored_groups(choice.whole, origin, groups)
        if not scoring.reads_samples:
            scored.pop()  # the score has no utility of its own: it would be `top`
        control = matched_control(study, scored, mobile)
        blind = random_control(study, scored[0], groups.share)
        num_samples = min(len(data.behaviour), len(data.utility))
        listed = [scored[0], control, *scored[1:], blind]
        save_groups(folder, listed, identity, choice.agreement(num_samples))
        save_grid(folder, choice.difference_grid(num_samples))
        halves = choice.halves(num_samples)
        save_overlaps(folder, overlaps_of(listed, halves, num_samples // 2))

    return study.run.step("groups", inputs, make)


def load_groups(study: Study, step: StepOutcome) -> tuple[WeightGroup, ...]:
    """Read the groups of a finished step, the declared one first.

    Raises:
        DataError: A group was chosen on another model.
    """
    groups = read_groups(step)
    for group in groups:
        group.require_model(study.loaded.identity.base_sha256)
    return groups


def _choose(
    sites: Sequence[Site], scores: Iterable[OfMatrix], groups: GroupOptions
) -> Choice:
    choice = Choice(sites, groups)
    for site, (of, to) in scores:
        choice.add(site, of, to)
    if not any(index.size for index in choice.whole.difference.values()):
        raise DataError(
            f"no weight is among the top {groups.q:g} by behaviour score and outside "
            f"the top {groups.p:g} by utility score; raise --q or lower --p"
        )
    return choice


def _scored_groups(
    chosen: Chosen, origin: GroupOrigin, groups: GroupOptions
) -> list[WeightGroup]:
    shares = {"p": groups.p, "q": groups.q}
    only = replace(origin, rule="difference", shares=shares)
    return [
        WeightGroup(name=DECLARED, members=chosen.difference, origin=only),
        WeightGroup(name="top", members=chosen.top, origin=origin),
        WeightGroup(name="utility", members=chosen.utility, origin=origin),
    ]
