"""Which weights are frozen in each training run?"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.recipes.freezing_options import FreezePlan
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.freezing.chosen import load_chosen
from driftmap.recipes.steps.freezing.planning import Arm
from driftmap.recipes.steps.groups.controls import matched_control
from driftmap.results.groups import WeightGroup
from driftmap.results.positions import FlatIndex
from driftmap.store.groups import load_group, save_group
from driftmap.store.steps import StepOutcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Freezable:
    """What training runs freeze parts of.

    Args:
        group: The group.
        controls: The step that drew a matched control for every training seed; it
            depends on the group.
    """

    group: WeightGroup
    controls: StepOutcome

    def of(self, arm: Arm, seed: int) -> dict[Site, FlatIndex]:
        """Weights that a training run freezes; a larger part holds every smaller one.

        Which part it is, is drawn anew for every training seed, so that the spread
        over seeds holds the luck of that draw as well.

        Args:
            arm: The training run.
            seed: The run's seed.
        """
        if arm.kind == "free":
            return {}
        whole = self.group if arm.kind == "group" else self.control(arm.number)
        part_seed = child_seed(seed, "frozen part", arm.number)
        found = {
            site: part_of(index, arm.share, child_seed(part_seed, site.key))
            for site, index in whole.members.items()
        }
        return {site: index for site, index in found.items() if index.size}

    def control(self, number: int) -> WeightGroup:
        """The matched control of one training seed."""
        return load_group(self.controls.path(_file(number)))


def part_of(index: FlatIndex, share: float, seed: int) -> FlatIndex:
    """Draw a part of the group's weights in one matrix.

    >>> part_of(np.arange(4), 0.5, 0).size, part_of(np.arange(4), 1.0, 0).tolist()
    (2, [0, 1, 2, 3])
    """
    order = np.random.default_rng(seed).permutation(index.size)
    return index[np.sort(order[: round(share * index.size)])]


def control_step(
    study: Study, groups: StepOutcome, mobile: Sequence[Site], plan: FreezePlan
) -> Freezable:
    """Draw one matched control for every training seed.

    Args:
        study: Model and seed.
        groups: The step that chose the groups; no weight of any of them is drawn.
        mobile: Matrices that tuning can move; only there is a control drawn.
        plan: Which group is frozen, and how many training seeds there are.

    Raises:
        DataError: No weight of the group can move.
    """
    chosen = load_chosen(groups, plan.freezing.freeze)
    group = chosen[0]
    if not any(group.at(site).size for site in mobile):
        raise DataError(
            f"no weight of `{group.name}` lies in a matrix that is tuned, so that "
            "freezing it changes nothing; tune the matrices that hold it"
        )

    least = plan.freezing.frozen_shares[0]
    if not any(round(least * index.size) for index in group.members.values()):
        raise DataError(
            f"--shares {least:g} of `{group.name}` is less than half a weight in every "
            "matrix; give larger shares, or raise --q or --share"
        )

    def make(folder: Path) -> None:
        for number in range(plan.comparing.seeds):
            seed = child_seed(study.seed, "freeze control", number)
            control = matched_control(replace(study, seed=seed), chosen, mobile)
            save_group(folder / _file(number), control)

    inputs = {
        "groups": groups.key,
        "mobile": [site.key for site in mobile],
        "seeds": plan.comparing.seeds,
        "seed": study.seed,
    }
    return Freezable(group=group, controls=study.run.step("controls", inputs, make))


def _file(number: int) -> str:
    return f"groups/controls/seed-{number}.safetensors"
