"""Which attention heads go, and which others go in their place?"""

from collections.abc import Sequence

import numpy as np

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.core.seeds import child_seed
from driftmap.intervene.regions import head_regions, num_heads
from driftmap.intervene.weights import zeros
from driftmap.recipes.ablation_options import AblationOptions
from driftmap.recipes.steps.ablating.arms import Arm, Change, Treatment
from driftmap.recipes.steps.bench import Study
from driftmap.results.ablation import OWN, Ablated
from driftmap.results.groups import WeightGroup
from driftmap.results.heads import Head, RankedHead
from driftmap.store.files import sha256_of
from driftmap.store.head_ranks import import_head_ranks


def head_treatment(
    study: Study, group: WeightGroup | None, options: AblationOptions
) -> Treatment:
    """The first heads of a ranking, with as many others of the same layers.

    Args:
        study: Model and seed.
        group: Ranks heads by its share of their weights where no file does.
        options: The file of ranks, if any, and how many heads go.

    Raises:
        StoreError: The file cannot be read.
        DataError: It names other heads than the model has, or too many would go.
    """
    sites = study.loaded.layout.sites
    every = [
        Head(layer=site.layer, number=number)
        for site in sites
        if site.part == "o"
        for number in range(num_heads(site))
    ]
    ranked, chosen = _ranked(study, every, group, options)
    count = options.num_heads or max(1, len(every) // 10)
    if 2 * count > len(every) or count > len(ranked):
        raise DataError(
            f"--num-heads {count}: of {len(every)} heads {len(ranked)} are ranked, and "
            "as many others must be left to compare with; take fewer"
        )
    own = [rank.head for rank in ranked[:count]]
    arms = [_arm(study, own, OWN)]
    arms += [
        _arm(study, _others(study, every, own, draw), draw)
        for draw in range(options.controls)
    ]
    of_heads = head_regions(sites, own)
    num_weights = sum(len(r.columns) * s.num_rows for s, r in of_heads.items())
    return Treatment(
        about=Ablated(
            name="heads",
            unit="heads",
            num_units=count,
            num_weights=num_weights,
            share=count / len(every),
            chosen=f"{chosen}: {_named(own)}",
            control="as many other heads, of the same layers as far as these have any",
            note="A head goes by its columns of the map o, which alone read it.",
        ),
        arms=arms,
        inputs={"heads": [head.name for head in own], "seed": study.seed},
    )


def heads_by_group(sites: Sequence[Site], group: WeightGroup) -> tuple[RankedHead, ...]:
    """Rank heads by the group's share of their rows of q and columns of o.

    Args:
        sites: Matrices of the model.
        group: Weights of a behaviour.
    """
    found: dict[Head, float] = {}
    for site in sites:
        if site.part not in ("q", "o"):
            continue
        assert site.head_size is not None, site.key
        row, column = np.divmod(group.at(site), site.num_columns)
        unit = (row if site.part == "q" else column) // site.head_size
        of_unit = site.head_size * site.num_weights
        of_unit //= site.num_rows if site.part == "q" else site.num_columns
        length = site.num_rows if site.part == "q" else site.num_columns
        counts = np.bincount(unit, minlength=length // site.head_size)
        for number, held in enumerate(counts.tolist()):
            head = Head(layer=site.layer, number=number)
            found[head] = found.get(head, 0.0) + held / of_unit / 2
    ranked = [RankedHead(head=head, value=value) for head, value in found.items()]
    order = sorted(ranked, key=lambda r: (-r.value, r.head.layer, r.head.number))
    return tuple(order)


def _ranked(
    study: Study,
    every: Sequence[Head],
    group: WeightGroup | None,
    options: AblationOptions,
) -> tuple[tuple[RankedHead, ...], str]:
    if options.heads is None:
        assert group is not None, "neither ranks nor a group"
        sites = study.loaded.layout.sites
        return heads_by_group(sites, group), f"most of `{group.name}` in them"
    study.run.note_inputs({"heads": sha256_of(options.heads)})
    ranked, known = import_head_ranks(options.heads), set(every)
    for rank in ranked:
        if rank.head not in known:
            raise DataError(
                f"{options.heads}: {rank.head.name} is no head of this model, which "
                f"has {len(every)} up to {every[-1].name}; rank this model's heads"
            )
    return ranked, f"the first in {options.heads.name}"


def _arm(study: Study, heads: Sequence[Head], draw: int) -> Arm:
    sites = study.loaded.layout.sites

    def change(dose: float) -> Change:
        first = heads[: max(1, round(dose * len(heads)))]
        return Change(regions=head_regions(sites, first), edit=zeros())

    return Arm(group="heads", draw=draw, change=change)


def _others(
    study: Study, every: Sequence[Head], own: Sequence[Head], draw: int
) -> list[Head]:
    """Another head for each, of its layer where that has one left."""
    seed = child_seed(study.seed, "other heads", draw)
    left = [head for head in every if head not in set(own)]
    order = np.random.default_rng(seed).permutation(len(left)).tolist()
    waiting = [left[number] for number in order]
    drawn: list[Head] = []
    for head in own:
        near = [other for other in waiting if other.layer == head.layer]
        other = (near or waiting)[0]
        waiting.remove(other)
        drawn.append(other)
    return drawn


def _named(heads: Sequence[Head]) -> str:
    shown = ", ".join(f"{head.layer}.{head.number}" for head in heads[:12])
    return f"{shown} and {len(heads) - 12} more" if len(heads) > 12 else shown
