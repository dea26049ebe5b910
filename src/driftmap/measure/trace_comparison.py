"""Do two traces use the same layers?

A profile is IE / TE at a row that is found by its role, layer by layer. It does not
move when a constant is added to every outcome. The published comparison did: it took
rows of raw outcomes, which are all positive, so that their common constant decides
every cosine. Those measures are made here too, for columns beside.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float64
from scipy.stats import rankdata

from driftmap.core.errors import MeasureError
from driftmap.results.facts import Fact
from driftmap.results.trace_comparison import (
    ProfileComparison,
    ProfileRow,
    Refused,
    TraceProfile,
)
from driftmap.results.trace_kinds import ROLES, TokenRole
from driftmap.results.traces import TraceGrid
from driftmap.stats.profile_pairs import labels_of, pair_classes

Rows = Float64[np.ndarray, "prompt place"]
Pairs = Float64[np.ndarray, "prompt prompt"]

_FLAT = 1e-12
"""Share of its sum of squares below which a row's variance is rounding."""

_CHUNK = 2**14


def compare_traces(
    grids: Sequence[TraceGrid],
    facts: Sequence[Fact],
    answer_ids: Sequence[Sequence[int]],
    *,
    row: ProfileRow = "last subject",
    min_total_effect: float = 0.05,
    num_unknown: int = 0,
) -> ProfileComparison:
    """Compare every pair of prompts.

    Args:
        grids: One per prompt, all of one kind, window and model.
        facts: The fact behind each, in the same order.
        answer_ids: Tokens of each one's answer.
        row: Which tokens; a role's several tokens are averaged.
        min_total_effect: Least TE of a prompt that is compared.
        num_unknown: Prompts that were not traced, since the model does not know their
            answer (count).

    Returns:
        The prompts that have a profile and all their pairs; the others are counted.

    Raises:
        MeasureError: Grids are of different kinds or depths, or there is none.
    """
    _require_alike(grids)
    owners = _subjects(facts)
    profiles: list[TraceProfile] = []
    refused = {"unknown": num_unknown, "weak": 0, "no_row": 0}
    for grid, fact, ids in zip(grids, facts, answer_ids, strict=True):
        if grid.is_known is False:
            refused["unknown"] += 1
        elif not grid.total_effect >= min_total_effect:
            refused["weak"] += 1
        elif row != "all roles" and row not in {r for held in grid.roles for r in held}:
            refused["no_row"] += 1
        else:
            profiles.append(trace_profile(grid, fact, owners[fact.said], ids, row))
    return compare_profiles(profiles, grids[0], row=row, refused=Refused(**refused))


def trace_profile(
    grid: TraceGrid,
    fact: Fact,
    subject: str,
    answer_ids: Sequence[int],
    row: ProfileRow = "last subject",
) -> TraceProfile:
    """Take a prompt's profile from its grid.

    Args:
        grid: The prompt's trace; its TE is not 0.
        fact: What it says.
        subject: The fact's subject, also where subject and object have changed places.
        answer_ids: Tokens of the answer.
        row: Which tokens.
    """
    wanted: tuple[TokenRole, ...] = ROLES if row == "all roles" else (row,)
    places = [[t for t, held in enumerate(grid.roles) if r in held] for r in wanted]
    score = np.full((len(wanted), grid.score.shape[1]), np.nan)
    for number, tokens in enumerate(places):
        if tokens:
            score[number] = grid.score[tokens].mean(axis=0)
    effect = (score - grid.low) / grid.total_effect
    spread = _positive_part(effect)
    layers = np.arange(effect.shape[1])
    best = np.nanmax(effect, axis=0)
    read = places[0] if row != "all roles" else []
    return TraceProfile(
        prompt_id=fact.id,
        fact=fact.said,
        subject=subject,
        named=fact.subject,
        relation=fact.relation,
        direction=fact.direction,
        answer=grid.answer,
        answer_ids=tuple(answer_ids),
        is_known=grid.is_known,
        num_tokens=len(grid.tokens),
        token="".join(grid.tokens[t] for t in read),
        total_effect=grid.total_effect,
        low=grid.low,
        effect=effect,
        score=score,
        peak_layer=None if spread is None else int(best.argmax()),
        centre=None if spread is None else float(spread @ layers),
    )


def compare_profiles(
    profiles: Sequence[TraceProfile],
    like: TraceGrid,
    *,
    row: ProfileRow,
    refused: Refused,
) -> ProfileComparison:
    """Compare every pair of profiles.

    Args:
        profiles: At least one.
        like: A grid of the kind and window that all are of.
        row: Which tokens they are taken at.
        refused: Prompts that have none.

    Raises:
        MeasureError: There is no profile.
    """
    if not profiles:
        raise MeasureError(
            f"{like.kind}: no prompt has a profile at the row `{row}`: "
            f"{refused.unknown} are unknown to the model, {refused.weak} have too "
            f"small a total effect, {refused.no_row} have no such token; lower "
            "--min-total-effect, take another row, or more noise"
        )
    effects = np.stack([p.effect for p in profiles])
    scores = np.stack([p.score for p in profiles])
    return ProfileComparison(
        kind=like.kind,
        window=like.window,
        row=row,
        profiles=tuple(profiles),
        refused=refused,
        pearson=likeness(effects, effects),
        earth_mover=_earth_mover([_positive_part(effect) for effect in effects]),
        centres=_apart([p.centre for p in profiles]),
        peaks=_apart([p.peak_layer for p in profiles]),
        compat={} if row == "all roles" else _compat(scores[:, 0]),
        classes=pair_classes(labels_of(profiles)),
    )


def likeness(
    effects: Float64[np.ndarray, "prompt role layer"],
    others: Float64[np.ndarray, "other role layer"],
) -> Float64[np.ndarray, "prompt other"]:
    """Pearson correlation of profiles over layers, and roles that both have.

    Args:
        effects: Profiles; NaN in roles that a prompt has not.
        others: Others, of the same roles and layers.

    Returns:
        From -1 to 1; NaN where one of the two is flat, or they share no role.
    """
    left, left_is = _laid_out(effects)
    right, right_is = _laid_out(others)
    num = left_is @ right_is.T
    with np.errstate(divide="ignore", invalid="ignore"):
        sum_left, sum_right = left @ right_is.T, left_is @ right.T
        squares_left, squares_right = left**2 @ right_is.T, left_is @ (right**2).T
        var_left = squares_left - sum_left**2 / num
        var_right = squares_right - sum_right**2 / num
        shared = left @ right.T - sum_left * sum_right / num
        found = shared / np.sqrt(var_left * var_right)
    flat = (var_left <= _FLAT * squares_left) | (var_right <= _FLAT * squares_right)
    return np.where(flat, np.nan, np.clip(found, -1, 1))


def across_noise(
    compared: ProfileComparison, again: Sequence[ProfileComparison]
) -> ProfileComparison:
    """Compare every prompt with the others as they are under other noise.

    Prompts about one subject see the same draws, and noise that is shared would make
    their profiles alike. Between draws it is shared by none.

    Args:
        compared: All pairs under one seed of the noise.
        again: The same prompts under others, one by one.

    Returns:
        The same with Pearson between seeds, both ways and over seeds averaged; NaN for
        prompts without a profile under another seed.
    """
    found = [_crossed(compared, other) for other in again]
    return replace(compared, pearson=np.mean([(m + m.T) / 2 for m in found], axis=0))


def likeness_to_itself(
    compared: ProfileComparison, other: ProfileComparison
) -> Float64[np.ndarray, " prompt"]:
    """How alike each prompt is to itself under other noise; NaN without a profile."""
    return np.diagonal(_crossed(compared, other)).copy()


def _crossed(compared: ProfileComparison, other: ProfileComparison) -> Pairs:
    there = {profile.prompt_id: profile.effect for profile in other.profiles}
    none = np.full_like(compared.profiles[0].effect, np.nan)
    ours = np.stack([profile.effect for profile in compared.profiles])
    others = [there.get(p.prompt_id, none) for p in compared.profiles]
    return likeness(ours, np.stack(others))


def _laid_out(
    effects: Float64[np.ndarray, "prompt role layer"],
) -> tuple[Rows, Rows]:
    """Every prompt in one row less its mean, 0 where nothing is; and where it is."""
    rows = effects.reshape(len(effects), -1)
    there = np.isfinite(rows)
    mean = np.where(there, rows, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(there, rows - mean[:, None], 0.0), there.astype(np.float64)


def _positive_part(
    effect: Float64[np.ndarray, "role layer"],
) -> Float64[np.ndarray, " layer"] | None:
    """Where the positive part lies, summing to 1; None where nothing is positive."""
    part = np.nansum(np.maximum(effect, 0), axis=0)
    return part / part.sum() if part.sum() > 0 else None


def _earth_mover(parts: Sequence[Float64[np.ndarray, " layer"] | None]) -> Pairs:
    """`sum_l |F(l) - G(l)|`: on a line, that is how far mass must be moved."""
    size = next((part.size for part in parts if part is not None), 1)
    summed = np.stack(
        [np.full(size, np.nan) if p is None else np.cumsum(p) for p in parts]
    )
    return _pairwise(summed, lambda gap: gap.sum(axis=1))


def _apart(places: Sequence[float | int | None]) -> Pairs:
    at = np.array([np.nan if p is None else float(p) for p in places])
    return np.abs(at[:, None] - at[None, :])


def _compat(scores: Rows) -> dict[str, Pairs]:
    """Published measures of rows of raw outcomes."""
    norm = np.linalg.norm(scores, axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = scores / norm
        spread = scores.std(axis=1, keepdims=True)
        is_flat = spread**2 <= _FLAT * (scores**2).mean(axis=1, keepdims=True)
        z = (scores - scores.mean(axis=1, keepdims=True)) / spread
    z = np.where(is_flat, np.nan, z)
    ranks = rankdata(scores, axis=1)
    return {
        "cosine": np.clip(unit @ unit.T, -1, 1),
        "euclid": _pairwise(scores, lambda gap: np.sqrt((gap**2).sum(axis=1))),
        "manhattan": _pairwise(scores, lambda gap: gap.sum(axis=1)),
        "chebyshev": _pairwise(scores, lambda gap: gap.max(axis=1)),
        "minkowski 3": _pairwise(scores, lambda gap: np.cbrt((gap**3).sum(axis=1))),
        "z pearson": likeness(scores[:, None], scores[:, None]),
        "z spearman": likeness(ranks[:, None], ranks[:, None]),
        "z dtw": _time_warped(z),
        "z mse": _pairwise(z, lambda gap: (gap**2).mean(axis=1)),
    }


def _pairwise(
    rows: Rows, fold: Callable[[Rows], Float64[np.ndarray, " prompt"]]
) -> Pairs:
    """Fold the absolute gaps of every two rows."""
    return np.stack([fold(np.abs(rows - row)) for row in rows])


def _time_warped(z: Rows) -> Pairs:
    """Dynamic time warping with absolute gaps: the cheapest walk through both rows."""
    num, depth = z.shape
    first, second = np.triu_indices(num, 1)
    found = np.zeros((num, num))
    for start in range(0, first.size, _CHUNK):
        left = z[first[start : start + _CHUNK]]
        right = z[second[start : start + _CHUNK]]
        walked = np.full((depth + 1, len(left)), np.inf)
        walked[0] = 0.0
        for i in range(depth):
            before, walked = walked, np.full_like(walked, np.inf)
            for j in range(depth):
                best = np.minimum(np.minimum(before[j], before[j + 1]), walked[j])
                walked[j + 1] = best + np.abs(left[:, i] - right[:, j])
        found[first[start : start + _CHUNK], second[start : start + _CHUNK]] = walked[
            -1
        ]
    return found + found.T


def _subjects(facts: Sequence[Fact]) -> dict[str, str]:
    """The subject of each fact: that of its forward prompt, where it has one."""
    owners = {fact.said: fact.subject for fact in facts}
    return owners | {f.said: f.subject for f in facts if f.direction == "forward"}


def _require_alike(grids: Sequence[TraceGrid]) -> None:
    if not grids:
        raise MeasureError("there is no trace to compare; trace two prompts or more")
    of = {(grid.kind, grid.window, grid.score.shape[1]) for grid in grids}
    if len(of) > 1:
        raise MeasureError(
            f"traces of different kinds, windows or depths cannot be compared: "
            f"{sorted(of, key=str)}; compare those of one kind"
        )
