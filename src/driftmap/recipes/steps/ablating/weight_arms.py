"""What is done to a group of weights, and to as many others of the same sizes?"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import cast

import numpy as np

from driftmap.core.errors import UsageError
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.families.matrices import effective_weight, site_weight
from driftmap.intervene.editing import Edit, change_norms, of_equal_norm
from driftmap.intervene.regions import Region, Regions
from driftmap.intervene.weights import (
    WeightOf,
    disturbed,
    scaled,
    taken_from,
    zeros,
)
from driftmap.load.model import LoadedModel, load_model
from driftmap.load.source import Dtype, ModelSource
from driftmap.measure.select import matched
from driftmap.recipes.ablation_options import AblationOptions
from driftmap.recipes.steps.ablating.arms import Arm, Change, MadeRegions, Treatment
from driftmap.recipes.steps.ablating.targets import Targets
from driftmap.recipes.steps.bench import Study
from driftmap.results.ablation import OWN, Ablated
from driftmap.results.groups import FlatIndex, WeightGroup

REPLACING = ("restore", "noise")
"""Ways whose controls are stretched to the same size of change, matrix by matrix."""


def weight_treatments(
    study: Study, targets: Targets, options: AblationOptions
) -> list[Treatment]:
    """Every group with its matched controls.

    Raises:
        UsageError: Scores are to order a group that has none.
        ModelError: The model to restore from cannot be loaded.
    """
    base, base_sha256 = _base(study.loaded, targets, options)
    return [
        _treatment(study, targets, number, options, (base, base_sha256))
        for number in range(len(targets.groups))
    ]


def _treatment(
    study: Study,
    targets: Targets,
    number: int,
    options: AblationOptions,
    base: tuple[WeightOf | None, str],
) -> Treatment:
    group = targets.groups[number]
    if options.order == "score" and not group.scores:
        raise UsageError(
            f"--order score: group {group.name!r} holds no scores to go by; leave "
            "--order out, so that its weights go in drawn order"
        )
    own = _Weights(
        study=study, group=group, members=group.members, options=options, base=base[0]
    )
    controls, num_short = _controls(study, targets, group, options)
    others = [
        replace(own, members=members, like=own, draw=draw)
        for draw, members in enumerate(controls)
    ]
    arms = [
        Arm(group=group.name, draw=some.draw, change=some.change)
        for some in (own, *others)
    ]
    return Treatment(
        about=_about(study, targets, number, options, num_short),
        arms=arms,
        inputs={
            "groups": targets.sha256,
            "group": group.name,
            "base": base[1],
            **{
                name: value
                for name, value in asdict(options).items()
                if name in ("scale_by", "noise_kind", "order")
            },
        },
    )


def _about(
    study: Study,
    targets: Targets,
    number: int,
    options: AblationOptions,
    num_short: int,
) -> Ablated:
    group, num_scored = targets.groups[number], study.loaded.identity.num_weights
    num_units = group.num_weights
    if options.by == "keep_only":
        num_units = num_scored - num_units
    return Ablated(
        name=group.name,
        unit="weights",
        num_units=num_units,
        num_weights=num_units,
        share=num_units / num_scored,
        chosen=targets.chosen[number],
        control=_control_words(options),
        num_short=num_short,
        note=_note(options),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Weights:
    """Some weights, and what becomes of them at each dose.

    Args:
        study: Model and seed.
        group: The group that is taken away.
        members: Its weights, or those of a control.
        options: What is done.
        base: Values to put back.
        like: The group itself, where these are a control's.
        draw: Number of the control.
    """

    study: Study
    group: WeightGroup
    members: Mapping[Site, FlatIndex]
    options: AblationOptions
    base: WeightOf | None
    like: "_Weights | None" = None
    draw: int = OWN

    def change(self, dose: float) -> Change:
        """Change a share of the weights, or of all others."""
        regions = self._regions(dose)
        edit = self._edit(regions)
        if self.like is not None and self.options.by in REPLACING:
            own = self.like.change(dose)
            norms = change_norms(self.study.loaded.model, own.regions, own.edit)
            edit = of_equal_norm(edit, regions, norms)
        return Change(regions=regions, edit=edit)

    def _regions(self, dose: float) -> Regions:
        if self.options.by == "keep_only":
            sites = self.study.loaded.layout.sites
            return MadeRegions(sites, partial(self._others, dose))
        sites = [site for site, index in self.members.items() if index.size]
        return MadeRegions(sites, partial(self._some, dose))

    def _some(self, dose: float, site: Site) -> Region:
        index = self.members[site]
        if dose < 1:
            index = index[self._order(site, index)[: round(dose * index.size)]]
        return Region(weights=index)

    def _others(self, dose: float, site: Site) -> Region:
        index = self.members.get(site, np.empty(0, dtype=np.int64))
        if dose == 1:
            return Region(weights=index, is_inverted=True)
        others = np.setdiff1d(np.arange(site.num_weights), index, assume_unique=True)
        order = self._drawn_order(site, others.size)
        return Region(weights=others[order[: round(dose * others.size)]])

    def _order(self, site: Site, index: FlatIndex) -> FlatIndex:
        """Which members go first: a smaller dose is part of every larger one."""
        if self.options.order == "score" and self.like is None:
            return np.argsort(-self.group.scores[site], kind="stable")
        return self._drawn_order(site, index.size)

    def _drawn_order(self, site: Site, count: int) -> FlatIndex:
        seed = child_seed(self.study.seed, "dose", self.group.name, site.key)
        return np.random.default_rng([seed, self.draw + 1]).permutation(count)

    def _edit(self, regions: Regions) -> Edit:
        options = self.options
        if options.by == "restore":
            assert self.base is not None
            return taken_from(self.base)
        if options.by == "scale":
            return scaled(options.scale_by)
        if options.by == "noise":
            seed = child_seed(self.study.seed, "noise", self.draw)
            return disturbed(regions, seed, options.noise_kind)
        return zeros()


def _controls(
    study: Study, targets: Targets, group: WeightGroup, options: AblationOptions
) -> tuple[list[dict[Site, FlatIndex]], int]:
    """Matched draws, and how many weights the shortest one lacks."""
    taken = [g.members for g in (*targets.groups, *targets.beside)]
    drawn, short = [], 0
    for draw in range(options.controls):
        found = matched(
            {site: index for site, index in group.members.items() if index.size},
            partial(_magnitude, study.loaded),
            taken,
            child_seed(study.seed, "ablation control", group.name, draw),
        )
        drawn.append(dict(found.members))
        short = max(short, sum(s.num_wanted - s.num_found for s in found.shortfalls))
    return drawn, short


def _magnitude(loaded: LoadedModel, site: Site) -> np.ndarray:
    return effective_weight(loaded.model, site).abs().cpu().numpy()


def _base(
    loaded: LoadedModel, targets: Targets, options: AblationOptions
) -> tuple[WeightOf | None, str]:
    """Values to restore, and which model they are of."""
    if options.by != "restore":
        return None, ""
    if options.restore_from is None:
        # Copies: while a matrix is changed its adapter is part of the weight itself.
        under = {
            site: site_weight(loaded.model, site).to("cpu", copy=True)
            for group in targets.groups
            for site in group.members
        }
        return under.__getitem__, loaded.identity.base_sha256
    dtype = cast(Dtype, loaded.identity.dtype)
    other = load_model(
        ModelSource(model=options.restore_from, dtype=dtype, device="cpu")
    )
    return partial(site_weight, other.model), other.identity.sha256


def _control_words(options: AblationOptions) -> str:
    words = (
        "as many weights per matrix and size bin, drawn at random outside the scored "
        "groups"
    )
    if options.by in REPLACING:
        words += ", changed by as much in each matrix (equal Frobenius norm)"
    return words


def _note(options: AblationOptions) -> str:
    if options.by == "keep_only":
        return "Doses count the weights outside the group, which go; the group stays."
    return ""
