"""Which weights stand beside a group, so that one sees what is ordinary?"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from jaxtyping import Float

from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.core.units import format_count
from driftmap.families.matrices import effective_weight
from driftmap.load.model import LoadedModel
from driftmap.measure.select import matched, random_weights
from driftmap.recipes.steps.bench import Study
from driftmap.results.groups import GroupOrigin, WeightGroup


def matched_control(
    study: Study, scored: Sequence[WeightGroup], mobile: Sequence[Site]
) -> WeightGroup:
    """Draw as many weights of the same sizes as the declared group has.

    Args:
        study: Model and seed.
        scored: The declared group first; no weight of any of them is drawn.
        mobile: Matrices that tuning can move; only there is a control drawn.
    """
    declared = scored[0]
    control = matched(
        {site: declared.at(site) for site in mobile},
        partial(_magnitude, study.loaded),
        [group.members for group in scored],
        study.seed,
    )
    missing = sum(s.num_wanted - s.num_found for s in control.shortfalls)
    if missing:
        way_out = "" if declared.origin.source else "; a smaller --q leaves more"
        say(
            f"`matched` is {format_count(missing)} weights short of "
            f"`{declared.name}`: in {len(control.shortfalls)} size bins the scored "
            f"groups leave too few{way_out}"
        )
    return WeightGroup(
        name="matched",
        members=control.members,
        origin=replace(_blind(study, declared), rule="matched", shares={}),
    )


def random_control(study: Study, declared: WeightGroup, share: float) -> WeightGroup:
    """Draw a share of every matrix blindly.

    Args:
        study: Model and seed.
        declared: Says which model the control is for.
        share: Part of each matrix, 0 to 1; at least one weight.
    """
    return WeightGroup(
        name="random",
        members=random_weights(study.loaded.layout.sites, share, study.seed),
        origin=replace(_blind(study, declared), rule="random", shares={"share": share}),
    )


def _blind(study: Study, declared: WeightGroup) -> GroupOrigin:
    """The model of the declared group, and nothing of how that was chosen."""
    origin = declared.origin
    return GroupOrigin(
        model_sha256=origin.model_sha256,
        base_sha256=origin.base_sha256,
        rule="",
        seed=study.seed,
    )


def _magnitude(loaded: LoadedModel, site: Site) -> Float[np.ndarray, "row column"]:
    return effective_weight(loaded.model, site).abs().float().cpu().numpy()
