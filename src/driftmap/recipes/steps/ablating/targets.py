"""Which groups are taken away, and where do they come from?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from driftmap.recipes.options import GroupOptions, ScoringOptions
from driftmap.recipes.steps.ablating.beforehand import files_of, find_targets
from driftmap.recipes.steps.bench import Study
from driftmap.recipes.steps.data import ScoringData
from driftmap.recipes.steps.groups.cards import group_cards
from driftmap.recipes.steps.groups.choosing import group_step, load_groups
from driftmap.recipes.steps.groups.files import AGREEMENT_FILE
from driftmap.recipes.steps.groups.foreign import read_group
from driftmap.results.groups import WeightGroup
from driftmap.results.table import Table
from driftmap.store.files import sha256_of
from driftmap.store.tables import load_table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Targets:
    """Groups to take away.

    Args:
        groups: The declared one first.
        chosen: How each was chosen, in words.
        beside: Scored groups that no control may touch either.
        sha256: What they depend on: the key of the step that scored them, or the
            hashes of their files.
    """

    groups: tuple[WeightGroup, ...]
    chosen: tuple[str, ...]
    beside: tuple[WeightGroup, ...]
    sha256: dict[str, str]


def read_targets(study: Study, named: Sequence[Path]) -> Targets:
    """Read groups that were chosen before.

    Raises:
        StoreError: A file is missing or damaged.
        DataError: A group is empty or of another model.
    """
    declared = find_targets(named)
    others = {g.file: g for path in named for g in files_of(path)[1:]}
    for group in declared:
        others.pop(group.file, None)
    sha256 = {g.file.name: sha256_of(g.file) for g in (*declared, *others.values())}
    study.run.note_inputs({f"groups/{name}": sha256[name] for name in sha256})
    groups = tuple(read_group(study, g, sha256[g.file.name]) for g in declared)
    beside = [read_group(study, g, sha256[g.file.name]) for g in others.values()]
    num_weights = study.loaded.identity.num_weights
    unknown = Table(columns={})
    return Targets(
        groups=groups,
        chosen=tuple(card.chosen for card in group_cards(groups, num_weights, unknown)),
        beside=tuple(group for group in beside if not group.is_control),
        sha256=sha256,
    )


def score_targets(
    study: Study, data: ScoringData, scoring: ScoringOptions, groups: GroupOptions
) -> Targets:
    """Score for the behaviour, and take the set difference."""
    step = group_step(study, data, scoring, groups, study.loaded.layout.sites)
    chosen = load_groups(study, step)
    agreement = load_table(step.path(AGREEMENT_FILE))
    cards = group_cards(chosen, study.loaded.identity.num_weights, agreement)
    return Targets(
        groups=chosen[:1],
        chosen=(cards[0].chosen,),
        beside=tuple(group for group in chosen[1:] if not group.is_control),
        sha256={"groups": step.key},
    )
