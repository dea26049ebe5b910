"""Did the weights of a given group move more than others of their size?

One pair of models is one training run, so there is no interval over seeds; what chance
gives is drawn, by moving the group to other rows and columns.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.core.progress import progress
from driftmap.families.matrices import site_weight
from driftmap.measure.drift import dense_change
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.groups.foreign import read_group
from driftmap.results.statistics import GroupRatio
from driftmap.signals.changes import MatrixChange
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from driftmap.stats.many_tests import adjust, needed_permutations
from driftmap.stats.ratios import group_ratios
from driftmap.store.files import sha256_of
from driftmap.store.group_folder import FoundGroup, find_groups

LEAST_PERMUTATIONS = 999
"""Draws of each test, however few groups are given."""


def found_groups(sources: Sequence[Path]) -> tuple[FoundGroup, ...]:
    """Find the groups of several files and folders.

    Raises:
        StoreError: There is no group in one of them.
        DataError: Two groups have one name.
    """
    found = [group for source in sources for group in find_groups(source)]
    named: dict[str, Path] = {}
    for group in found:
        if group.name in named:
            raise DataError(
                f"{named[group.name]} and {group.file} both hold a group "
                f"`{group.name}`; rename one of the files"
            )
        named[group.name] = group.file
    return tuple(found)


def groups_moved(
    study: Study, found: Sequence[FoundGroup], changes: Mapping[Site, MatrixChange]
) -> tuple[GroupRatio, ...]:
    """Compare every group with all weights of its own sizes that are in no group.

    Args:
        study: The base model, and the seed of the draws.
        found: The groups' files.
        changes: What training added.

    Returns:
        Group by group: whole model, layers, parts; p-values corrected together. A
        group of which nothing moved has no ratio.

    Raises:
        StoreError: A file is damaged.
        DataError: A group is empty or of another model.
    """
    groups = [read_group(study, one, sha256_of(one.file)) for one in found]
    if not groups or not changes:
        return ()
    sites = [s for s in study.loaded.layout.sites if any(g.at(s).size for g in groups)]
    controls = {group.name for group in groups if group.is_control}
    places = 1 + len({s.layer for s in sites}) + len({s.part for s in sites})
    tests = (len(groups) - len(controls)) * places
    plan = DrawPlan(
        seed=study.seed,
        num_permutations=max(LEAST_PERMUTATIONS, needed_permutations(tests)),
        controls=controls,
    )
    evidence = []
    with progress("groups among weights of their size", len(sites)) as bar:
        for site in sites:
            weight = site_weight(study.loaded.model, site)
            sizes = weight.float().abs().cpu().numpy()
            members = {group.name: group.at(site) for group in groups}
            drifts = _drifts(study, site, changes)
            evidence.append(matrix_evidence(site, sizes, drifts, members, plan))
            bar.advance()
    return adjust(
        group_ratios(evidence, primary=None, seed=study.seed), controls=controls
    )


def group_inputs(found: Sequence[FoundGroup]) -> Mapping[str, str]:
    """Which groups they are, for the key of a step."""
    return {group.name: sha256_of(group.file) for group in found}


def _drifts(
    study: Study, site: Site, changes: Mapping[Site, MatrixChange]
) -> Iterator[Float64[np.ndarray, "row column"]]:
    if site not in changes:
        yield np.zeros(site.shape)
        return
    weight = site_weight(study.loaded.model, site)
    yield dense_change(changes[site], weight=weight).abs().numpy()
