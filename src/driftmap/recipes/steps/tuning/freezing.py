"""Which weights does a study keep from moving, and how many of them could move?"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from driftmap.core.errors import UsageError
from driftmap.core.places import Site, canonical_order
from driftmap.core.progress import say
from driftmap.core.seeds import child_seed
from driftmap.core.units import format_count
from driftmap.recipes.freeze_options import FreezeOptions
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.choosing import load_groups
from driftmap.recipes.steps.groups.foreign import read_group
from driftmap.results.freezing import (
    FREEZING_FILE,
    FREEZING_KIND,
    Freezing,
    FreezingWay,
)
from driftmap.results.groups import FlatIndex, WeightGroup
from driftmap.results.plain import from_plain, to_plain
from driftmap.store.files import sha256_of
from driftmap.store.group_folder import FoundGroup
from driftmap.store.groups import load_group, save_group
from driftmap.store.plain import load_json, save_json
from driftmap.store.steps import StepOutcome
from driftmap.tune.freezing import Frozen, unmoved

_MEMBERS_FILE = "frozen/members.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Kept:
    """What tuning may not move.

    Args:
        frozen: The weights, and how they are kept; None where all may move.
        key: Key of the step that drew them, and empty without one.
        sha256: Hash of the weights.
        unmoved: Per tuned site every weight that cannot move, blocked ones included.
    """

    frozen: Frozen | None = None
    key: str = ""
    sha256: str = ""
    unmoved: Mapping[Site, FlatIndex] = field(default_factory=dict)

    @property
    def way(self) -> FreezingWay | None:
        """How weights are kept from moving; None where all may move."""
        return None if self.frozen is None else self.frozen.way

    def inputs(self) -> dict[str, object]:
        """What a step depends on that tunes; nothing where nothing is frozen."""
        if self.frozen is None:
            return {}
        return {"frozen": {"way": self.frozen.way, "members": self.sha256}}

    def mobile(self, site: Site) -> Bool[np.ndarray, "row column"] | None:
        """Weights of a matrix that nothing keeps from moving; None where all may."""
        if site not in self.unmoved:
            return None
        free = np.ones(site.num_weights, dtype=bool)
        free[self.unmoved[site]] = False
        return free.reshape(site.shape)

    def moving_part(self, group: WeightGroup) -> WeightGroup:
        """A group without the weights that are kept from moving."""
        members = dict(group.members)
        for site, index in group.members.items():
            free = self.mobile(site)
            if free is not None:
                members[site] = index[free.reshape(-1)[index]]
        return replace(group, members=members, scores={})


ALL_MOVE = Kept()
"""Nothing is frozen."""


def freeze_step(
    study: Study, options: FreezeOptions, groups: StepOutcome, mobile: Sequence[Site]
) -> Kept:
    """Draw what is frozen from its group, and write which it is.

    Args:
        study: Folder, model and seed.
        options: Which group, which part of it, and how.
        groups: The step that chose the groups.
        mobile: Matrices that are tuned.

    Raises:
        UsageError: The run has no such group, or the part of it has no weight.
        DataError: The group of a file is of another model.
    """
    if options.freeze is None:
        return ALL_MOVE
    file = options.file
    inputs = {
        "group": options.freeze if file is None else file.name,
        "of": groups.key if file is None else sha256_of(file),
        "way": options.freeze_by,
        "share": options.freeze_share,
        "seed": study.seed,
        "mobile": [site.key for site in mobile],
    }

    def make(folder: Path) -> None:
        group = _group(study, options, groups)
        drawn = _drawn(group, options.freeze_share, study.seed)
        _require_some(group, drawn, options)
        save_group(folder / _MEMBERS_FILE, drawn)
        about = _about(drawn, options, mobile)
        save_json(folder / FREEZING_FILE, to_plain(about), FREEZING_KIND)

    step = study.run.step("freeze", inputs, make)
    members = load_group(step.path(_MEMBERS_FILE)).members
    frozen = Frozen(members=members, way=options.freeze_by)
    about = from_plain(Freezing, load_json(step.path(FREEZING_FILE), FREEZING_KIND))
    say(
        f"kept from moving: {format_count(about.num_weights)} weights of "
        f"`{about.group}`, of which training would move "
        f"{format_count(about.num_mobile)}, and {format_count(about.num_blocked)} "
        "others with them"
    )
    return Kept(
        frozen=frozen,
        key=step.key,
        sha256=_sha256(members),
        unmoved=unmoved(frozen, mobile),
    )


def _group(study: Study, options: FreezeOptions, groups: StepOutcome) -> WeightGroup:
    if options.file is not None:
        found = FoundGroup(name=options.file.stem, file=options.file)
        return read_group(study, found, sha256_of(options.file))
    there = {group.name: group for group in load_groups(study, groups)}
    if options.freeze not in there:
        raise UsageError(
            f"--freeze {options.freeze}: is no group of this run "
            f"({', '.join(there)}) and no .safetensors or .json file; name one of them"
        )
    return there[options.freeze]


def _require_some(
    group: WeightGroup, drawn: WeightGroup, options: FreezeOptions
) -> None:
    """Refuse to freeze nothing, but where nothing is asked for."""
    if drawn.num_weights or options.freeze_share == 0:
        return
    if not group.num_weights:
        raise UsageError(
            f"--freeze {options.freeze}: the group has no weight, so nothing would be "
            "frozen; name another, or leave --freeze out"
        )
    raise UsageError(
        f"--freeze-share {options.freeze_share:g}: that part of `{group.name}` is less "
        f"than one weight in each matrix, of {format_count(group.num_weights)} in all; "
        "give a larger share"
    )


def _drawn(group: WeightGroup, share: float, seed: int) -> WeightGroup:
    """The part of a group that is kept: larger parts hold the smaller ones."""
    members: dict[Site, FlatIndex] = {}
    for site, index in group.members.items():
        order = np.random.default_rng(child_seed(seed, "freeze", site.key))
        shuffled = order.permutation(index.size)[: int(share * index.size)]
        members[site] = index[np.sort(shuffled)]
    return replace(group, members=members, scores={})


def _about(
    group: WeightGroup, options: FreezeOptions, mobile: Sequence[Site]
) -> Freezing:
    frozen = Frozen(members=group.members, way=options.freeze_by)
    num_mobile = sum(group.at(site).size for site in mobile)
    still = sum(index.size for index in unmoved(frozen, mobile).values())
    return Freezing(
        group=group.name,
        way=options.freeze_by,
        share=options.freeze_share,
        num_weights=group.num_weights,
        num_mobile=num_mobile,
        num_blocked=still - num_mobile,
        num_tuned=sum(site.num_weights for site in mobile),
    )


def _sha256(members: Mapping[Site, FlatIndex]) -> str:
    digest = hashlib.sha256()
    for site in sorted(members, key=canonical_order):
        digest.update(f"{site.key}\n".encode())
        digest.update(np.ascontiguousarray(members[site]).tobytes())
    return digest.hexdigest()
