"""Which weights carry the behaviour, before tuning or after it, by the same samples?"""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.core.shortage import explained
from driftmap.recipes.freezing_options import FreezePlan
from driftmap.recipes.options import GroupOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import ScoringData
from driftmap.recipes.steps.groups.taking import Choice
from driftmap.recipes.steps.needs.remedies import for_scoring
from driftmap.recipes.steps.scoring.kept import (
    ScorePlaces,
    scores_inputs,
    scores_of_both,
)
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.positions import FlatIndex
from driftmap.results.rules import DECLARED
from driftmap.store.groups import load_group, save_group
from driftmap.store.steps import StepOutcome

Members = Mapping[Site, FlatIndex]

_SCORED = (DECLARED, "top", "utility")
_HALVES = ("even", "odd")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picked:
    """The frozen group as one rule takes it, from all samples and from halves.

    Args:
        whole: From all samples.
        even: From one half of them.
        odd: From the other; both empty where the score reads no sample.
    """

    whole: Members
    even: Members
    odd: Members

    @property
    def has_halves(self) -> bool:
        """Whether halves of the samples took any weight."""
        return any(i.size for half in (self.even, self.odd) for i in half.values())


def picked(study: Study, data: ScoringData, plan: FreezePlan) -> tuple[Picked, Choice]:
    """Score a model and take the groups.

    Args:
        study: The model that is scored.
        data: Samples of behaviour and utility.
        plan: How they are scored, which shares are taken, and which group is frozen.

    Returns:
        The group that is frozen, and all groups.
    """
    choice = Choice(study.loaded.layout.sites, plan.groups)
    places = ScorePlaces()
    with (
        explained("scoring", for_scoring(plan.scoring)),
        closing(scores_of_both(study, data, plan.scoring, places, None)) as scores,
    ):
        for site, (of, to) in scores:
            choice.add(site, of, to)
    name = plan.freezing.freeze
    found = Picked(
        whole=getattr(choice.whole, name),
        even=getattr(choice.even, name),
        odd=getattr(choice.odd, name),
    )
    return found, choice


def choose_step(study: Study, data: ScoringData, plan: FreezePlan) -> StepOutcome:
    """Choose the groups before tuning, and write them with the halves of the frozen.

    Raises:
        DataError: No weight is high by behaviour score and not by utility score.
    """
    name = plan.freezing.freeze
    inputs = {
        **scores_inputs(study, data, plan.scoring),
        "groups": asdict(plan.groups),
        "frozen": name,
    }

    def make(folder: Path) -> None:
        found, choice = picked(study, data, plan)
        _require_some(found.whole, plan.groups)
        for one in _SCORED:
            members = getattr(choice.whole, one)
            if members:
                save_group(folder / _file(one), _group(study, data, plan, one, members))
        for half, members in (("even", found.even), ("odd", found.odd)):
            group = _group(study, data, plan, name, members)
            save_group(folder / _file(f"halves/{half}"), group)

    return study.run.step("groups", inputs, make)


def load_chosen(step: StepOutcome, name: str) -> tuple[WeightGroup, ...]:
    """Read the groups chosen before tuning, the frozen one first."""
    names = [name, *(one for one in _SCORED if one != name)]
    return tuple(
        load_group(step.path(_file(one))) for one in names if _file(one) in step.files
    )


def load_picked(step: StepOutcome, name: str) -> Picked:
    """Read the frozen group with its halves."""
    whole = load_group(step.path(_file(name))).members
    even, odd = (load_group(step.path(_file(f"halves/{h}"))) for h in _HALVES)
    return Picked(whole=whole, even=even.members, odd=odd.members)


def rechosen(
    study: Study, data: ScoringData, plan: FreezePlan, members: Members
) -> WeightGroup:
    """The group that the same rule takes of a tuned model."""
    group = _group(study, data, plan, plan.freezing.freeze, members)
    return replace(group, name=f"{group.name} after tuning")


def _group(
    study: Study, data: ScoringData, plan: FreezePlan, name: str, members: Members
) -> WeightGroup:
    identity, groups = study.loaded.identity, plan.groups
    is_declared = name == DECLARED
    return WeightGroup(
        name=name,
        members=members,
        origin=GroupOrigin(
            model_sha256=identity.sha256,
            base_sha256=identity.base_sha256,
            rule="difference" if is_declared else "top",
            score=plan.scoring.score_name,
            shares={"p": groups.p, "q": groups.q}
            if is_declared
            else {"share": groups.share},
            samples_sha256=data.sha256 if plan.scoring.reads_samples else {},
            positions=plan.scoring.positions if plan.scoring.reads_samples else "",
            per=groups.per,
        ),
    )


def _require_some(members: Members, groups: GroupOptions) -> None:
    if not any(index.size for index in members.values()):
        raise DataError(
            f"no weight is among the top {groups.q:g} by behaviour score and outside "
            f"the top {groups.p:g} by utility score; raise --q or lower --p"
        )


def _file(name: str) -> str:
    return f"groups/{name}.safetensors"
