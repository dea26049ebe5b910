"""Which weights stand for the behaviour, and which are they compared with?"""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.core.scratch import clear_leftovers, require_scratch
from driftmap.core.shortage import explained
from driftmap.measure.select import difference, overlap, top
from driftmap.recipes.options import GroupOptions, ScoringOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import ScoringData
from driftmap.recipes.steps.groups.controls import matched_control, random_control
from driftmap.recipes.steps.groups.files import read_groups, save_groups
from driftmap.recipes.steps.needs.remedies import for_scoring
from driftmap.recipes.steps.scoring.halves import OfMatrix
from driftmap.recipes.steps.scoring.kept import (
    ScorePlaces,
    keep_scores,
    scores_inputs,
    scores_of_both,
)
from driftmap.results.groups import DECLARED, FlatIndex, GroupOrigin, WeightGroup
from driftmap.results.table import Table
from driftmap.store.steps import StepOutcome

Members = dict[Site, FlatIndex]

_IN_MEMORY = ScorePlaces()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Chosen:
    """Members of the scored groups, gathered matrix by matrix."""

    difference: Members = field(default_factory=dict)
    top: Members = field(default_factory=dict)
    utility: Members = field(default_factory=dict)

    def add(
        self,
        site: Site,
        behaviour: Tensor,
        utility: Tensor,
        groups: GroupOptions,
    ) -> None:
        """Select in one matrix."""
        wanted, contrast = {site: behaviour}, {site: utility}
        self.difference.update(difference(wanted, contrast, p=groups.p, q=groups.q))
        self.top.update(top(wanted, groups.share))
        self.utility.update(top(contrast, groups.share))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Choice:
    """The groups, and the same chosen from each half of the samples."""

    whole: _Chosen = field(default_factory=_Chosen)
    even: _Chosen = field(default_factory=_Chosen)
    odd: _Chosen = field(default_factory=_Chosen)


def group_step(
    study: Study,
    data: ScoringData,
    scoring: ScoringOptions,
    groups: GroupOptions,
    mobile: Sequence[Site],
    places: ScorePlaces = _IN_MEMORY,
) -> StepOutcome:
    """Score both data sets, or read their kept scores, and write the groups, once.

    Args:
        study: Folder, model and seed.
        data: Samples of behaviour and utility.
        scoring: How weights are scored.
        groups: Which shares are taken.
        mobile: Matrices that tuning can move; only there is a control drawn.
        places: Where scores may go; by default they never reach the run folder.
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
    kept = keep_scores(study, data, scoring) if places.keep else None

    def make(folder: Path) -> None:
        with (
            explained("scoring", for_scoring(scoring)),
            closing(scores_of_both(study, data, scoring, places, kept)) as scores,
        ):
            choice = _choose(scores, groups)
        origin = GroupOrigin(
            model_sha256=identity.sha256,
            base_sha256=identity.base_sha256,
            rule="top",
            score="snip",
            shares={"share": groups.share},
            samples_sha256=data.sha256,
            positions=scoring.positions,
        )
        scored = _scored_groups(choice.whole, origin, groups)
        control = matched_control(study, scored, mobile)
        blind = random_control(study, scored[0], groups.share)
        num_samples = min(len(data.behaviour), len(data.utility))
        agreement = _agreement(choice, identity.num_weights, num_samples)
        listed = [scored[0], control, *scored[1:], blind]
        save_groups(folder, listed, identity, agreement)

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


def _choose(scores: Iterable[OfMatrix], groups: GroupOptions) -> _Choice:
    choice = _Choice()
    for site, (of, to) in scores:
        choice.whole.add(site, of.score, to.score, groups)
        choice.even.add(site, of.even, to.even, groups)
        choice.odd.add(site, of.odd, to.odd, groups)
    if not any(index.size for index in choice.whole.difference.values()):
        raise DataError(
            f"no weight is among the top {groups.q:g} by behaviour score and outside "
            f"the top {groups.p:g} by utility score; raise --q or lower --p"
        )
    return choice


def _agreement(choice: _Choice, num_scored: int, num_samples: int) -> Table:
    """How much of a group two halves of the samples agree on, beside chance."""
    rows = []
    for name in (DECLARED, "top", "utility"):
        even, odd = getattr(choice.even, name), getattr(choice.odd, name)
        a, b = (_size(half) / num_scored for half in (even, odd))
        known = num_samples >= 2 and a + b > 0
        rows.append(
            {
                "group": name,
                "num_samples": num_samples // 2,
                "jaccard": overlap(even, odd).pooled if known else np.nan,
                "by_chance": a * b / (a + b - a * b) if known else np.nan,
            }
        )
    return Table.from_rows(rows)


def _size(members: Members) -> int:
    return sum(index.size for index in members.values())


def _scored_groups(
    chosen: _Chosen, origin: GroupOrigin, groups: GroupOptions
) -> list[WeightGroup]:
    shares = {"p": groups.p, "q": groups.q}
    only = replace(origin, rule="difference", shares=shares)
    return [
        WeightGroup(name=DECLARED, members=chosen.difference, origin=only),
        WeightGroup(name="top", members=chosen.top, origin=origin),
        WeightGroup(name="utility", members=chosen.utility, origin=origin),
    ]
