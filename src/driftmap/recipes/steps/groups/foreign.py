"""How do groups that were chosen elsewhere take the place of scoring?"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.core.progress import say
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.controls import matched_control, random_control
from driftmap.recipes.steps.groups.files import save_groups, save_overlaps
from driftmap.recipes.steps.groups.overlaps import overlaps_of
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.rules import CONTROL_RULES, IMPORTED
from driftmap.results.table import Table
from driftmap.store.files import sha256_of
from driftmap.store.group_folder import FoundGroup, find_groups
from driftmap.store.groups import load_group
from driftmap.store.interop import import_json_group
from driftmap.store.steps import StepOutcome


def groups_step(study: Study, source: Path, mobile: Sequence[Site]) -> StepOutcome:
    """Read groups from files and draw their controls; write what scoring would write.

    Args:
        study: Folder, model and seed.
        source: A group file, a folder of them, or a run folder.
        mobile: Matrices that tuning can move; only there is a control drawn.

    Raises:
        StoreError: There is no group, or a file is damaged or of another shape.
        DataError: A group is empty, of another model, or cannot move at all.
    """
    found = find_groups(source)
    sha256 = {group.file.name: sha256_of(group.file) for group in found}
    study.run.note_inputs({f"groups/{name}": sha256[name] for name in sha256})
    identity = study.loaded.identity
    inputs = {
        "model": identity.sha256,
        "dtype": identity.dtype,
        "groups": [[g.name, g.file.name, sha256[g.file.name]] for g in found],
        "mobile": [site.key for site in mobile],
        "seed": study.seed,
    }

    def make(folder: Path) -> None:
        read = [read_group(study, group, sha256[group.file.name]) for group in found]
        _say_unproven(read)
        _require_mobile(read[0], mobile)
        scored = [group for group in read if not group.is_control]
        blind = [group for group in read if group.is_control]
        if not blind:
            share = read[0].num_weights / identity.num_weights
            blind = [random_control(study, read[0], share)]
        control = matched_control(study, scored, mobile)
        listed = [scored[0], control, *scored[1:], *blind]
        save_groups(folder, listed, identity, _unknown_agreement(scored))
        save_overlaps(folder, overlaps_of(listed, {}, 0))

    return study.run.step("groups", inputs, make)


def read_group(study: Study, found: FoundGroup, sha256: str) -> WeightGroup:
    """Read one group, and refuse it where it is not of the study's model.

    Args:
        study: Whose model it must fit.
        found: Its name and file.
        sha256: Hash of the file.

    Raises:
        StoreError: The file is damaged or of another shape.
        DataError: The group is empty or of another model.
    """
    sites, identity = study.loaded.layout.sites, study.loaded.identity
    if found.file.suffix == ".json":
        origin = GroupOrigin(
            model_sha256=identity.sha256,
            base_sha256=identity.base_sha256,
            rule=IMPORTED,
        )
        group = import_json_group(found.file, sites, found.name, origin)
    else:
        group = load_group(found.file)
        group.require_model(identity.base_sha256)
        _require_known(found.file, group, sites)
    if not group.num_weights:
        raise DataError(f"{found.file}: the group is empty; choose one with weights")
    origin = replace(group.origin, source=found.file.name, source_sha256=sha256)
    return replace(group, name=found.name, origin=_with_rule(origin, found.name))


def _with_rule(origin: GroupOrigin, name: str) -> GroupOrigin:
    """A group is a control because of the part it plays here, not elsewhere."""
    if name == "random":
        return replace(origin, rule="random")
    return replace(origin, rule=IMPORTED) if origin.rule in CONTROL_RULES else origin


def _require_known(file: Path, group: WeightGroup, sites: Sequence[Site]) -> None:
    known = set(sites)
    for site in group.members:
        if site not in known:
            raise DataError(
                f"{file}: {site.key} with {site.num_rows} rows and {site.num_columns} "
                "columns is no matrix of this model; choose the group on this model"
            )


def _require_mobile(declared: WeightGroup, mobile: Sequence[Site]) -> None:
    if not any(declared.at(site).size for site in mobile):
        held = sorted({s.part for s, index in declared.members.items() if index.size})
        tuned = sorted({site.part for site in mobile})
        raise DataError(
            f"no weight of `{declared.name}` can move: it lies in {', '.join(held)} of "
            f"some layers, and the adapters tune {', '.join(tuned)}; tune the matrices "
            "that hold it, or give another group"
        )


def _say_unproven(groups: Sequence[WeightGroup]) -> None:
    names = [g.origin.source for g in groups if g.origin.source.endswith(".json")]
    if names:
        say(
            f"{', '.join(names)}: nothing in a JSON group proves on which model it was "
            "chosen; its matrices and sizes fit this one"
        )


def _unknown_agreement(scored: Sequence[WeightGroup]) -> Table:
    """Nobody split the samples that chose these groups."""
    return Table.from_rows(
        [
            {
                "group": group.name,
                "num_samples": 0,
                "jaccard": np.nan,
                "by_chance": np.nan,
            }
            for group in scored
        ]
    )
