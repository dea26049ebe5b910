"""What must a reader of a study of experts know, with its measured value?

Pure functions of measured numbers: one that does not apply gives nothing.
"""

from collections.abc import Iterator, Sequence

from driftmap.results.expert_effects import ExpertEffects
from driftmap.results.expert_evidence import Agreement, GroupShape
from driftmap.results.expert_study import Identified, ItemsKept
from driftmap.results.expert_views import Arm
from driftmap.results.statistics import Caution

FEW_ITEMS = 20
"""Held-out items below which a rate says little."""

FEW_DRAWS = 5
"""Random draws below which their spread says little."""

DEPTH = 0.5
"""Overlap with the layer-normalised group below which a choice follows depth."""

TRAFFIC = 0.4
"""Rank correlation with routed tokens above which a choice follows traffic."""


def expert_cautions(
    items: ItemsKept,
    identified: Sequence[Identified],
    arms: Sequence[Arm] = (),
    agreement: Agreement | None = None,
    effects: ExpertEffects | None = None,
) -> tuple[Caution, ...]:
    """Everything that applies.

    Args:
        items: What became of the items.
        identified: Round by round; rankings of the first round are judged.
        arms: Models side by side; empty where nothing was tuned.
        agreement: Methods against each other; None for one.
        effects: What taking experts away does; None where not tried.
    """
    first = [one for one in identified if one.round == identified[0].round]
    found = [*_of_items(items, is_tuned=bool(arms))]
    for one in first:
        found += _of_ranking(one)
    if agreement is not None:
        found += _disagreeing(agreement, {one.group.statistic for one in first})
    found += _of_draws(arms)
    if effects is not None:
        found += _unmatched(effects)
    return tuple(found)


def _of_items(items: ItemsKept, *, is_tuned: bool) -> Iterator[Caution]:
    if is_tuned and items.is_in_sample:
        yield _caution(
            "in-sample",
            items.num_train,
            f"All {items.num_train} items were trained on, so nothing is held out: "
            "a model that repeats its training refuses them all.",
            is_blocking=True,
        )
    elif is_tuned and items.num_held_out < FEW_ITEMS:
        yield _caution(
            "few-items",
            items.num_held_out,
            f"{items.num_held_out} held-out items: rates move by "
            f"{100 / max(1, items.num_held_out):.0f} points with each of them.",
        )
    if items.safe_response == "constant":
        yield _caution(
            "one-sentence",
            1,
            "All wanted answers are one sentence, so a ranking is partly about that "
            "sentence. Take the model's own refusals instead (`safe_response` own).",
        )
    if items.texts == "own":
        yield _caution(
            "own-texts",
            1,
            "Routing scores compare unsafe answers with refusals: other words, and not "
            "only another reaction. Compare with `same`, one refusal after both "
            "prompts.",
        )
    if items.num_cut:
        yield _caution(
            "cut-prompts",
            items.num_cut,
            f"Prompts cut from the left to fit: {items.num_cut}. What was cut may have "
            "been what defeats refusal.",
        )


def _of_ranking(found: Identified) -> Iterator[Caution]:
    method = found.group.method
    if found.halves is not None:
        full = found.halves.full
        if full.jaccard.low <= full.chance:
            yield _caution(
                "unstable",
                full.jaccard.estimate,
                f"{method}: two halves of the items choose experts that overlap by "
                f"Jaccard {full.jaccard.estimate:.2f}, hardly told apart from chance "
                f"({full.chance:.2f}). Score more items.",
            )
    yield from _of_shape(method, found.shape)


def _of_shape(method: str, shape: GroupShape | None) -> Iterator[Caution]:
    if shape is None:
        return
    overlap, tau = shape.normalised_jaccard, shape.tau_traffic
    if overlap is not None and overlap < DEPTH:
        yield _caution(
            "depth",
            overlap,
            f"{method}: with scores divided by their layer's mean, the group overlaps "
            f"by Jaccard {overlap:.2f} only: which layer an expert is in decides much "
            "of the choice.",
        )
    if tau is not None and tau > TRAFFIC:
        yield _caution(
            "traffic",
            tau,
            f"{method}: scores follow the number of tokens that an expert is sent "
            f"(Kendall's tau {tau:.2f}). `per_token` separates the two.",
        )


def _disagreeing(agreement: Agreement, ranked: set[str]) -> Iterator[Caution]:
    """Of methods that chose a group: other statistics are only shown.

    Without resampling there is no interval, and the overlap itself is read.
    """
    for pair in agreement.pairs:
        overlap = pair.jaccard
        low = overlap.low if overlap.num else overlap.estimate
        if {pair.left, pair.right} <= ranked and low <= pair.chance:
            yield _caution(
                "methods-disagree",
                pair.jaccard.estimate,
                f"`{pair.left}` and `{pair.right}` choose groups that overlap by "
                f"Jaccard {pair.jaccard.estimate:.2f}, not told apart from chance "
                f"({pair.chance:.2f}). That is a result; only effects say which of "
                "them matters.",
            )


def _of_draws(arms: Sequence[Arm]) -> Iterator[Caution]:
    for arm in arms:
        if arm.kind == "random" and arm.num_models < FEW_DRAWS:
            yield _caution(
                "few-draws",
                arm.num_models,
                f"{arm.num_models} random group{'s' * (arm.num_models != 1)} of "
                "experts tuned: intervals are over prompts, and say little of what "
                "other random experts would do.",
            )


def _unmatched(effects: ExpertEffects) -> Iterator[Caution]:
    beside = [
        (len(effect.experts), effect.null.num_unmatched, effect.null.num_missing)
        for effect in effects.effects
        if effect.null is not None and len(effect.experts) > 1
    ]
    size, unmatched, missing = max(
        beside, key=lambda one: (one[1] + one[2]) / one[0], default=(0, 0, 0)
    )
    if unmatched or missing:
        yield _caution(
            "unmatched",
            (unmatched + missing) / size,
            f"Of {size} experts, {unmatched} have no other of the same layer and "
            f"traffic beside them in random groups, and {missing} have none at all: "
            "random groups see less traffic than the chosen one.",
        )


def _caution(
    name: str, value: float, sentence: str, *, is_blocking: bool = False
) -> Caution:
    return Caution(
        name=name, sentence=sentence, value=float(value), is_blocking=is_blocking
    )
