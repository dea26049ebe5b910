"""How far do states and readings lie apart on the whole, and how sure is that?

The unit is the text, or the subject of a prompt: tokens of one text are not independent
of each other. All levels of one kind share their draws.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float64

from driftmap.core.seeds import child_seed
from driftmap.results.readings_change import (
    FactLens,
    LayerLevel,
    LensLevel,
    MeanStates,
    RoleLevel,
    Source,
    StateChange,
    StateKind,
    TextReadings,
    TextStates,
)
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import ROLES
from driftmap.stats.contrasts import NUM_DRAWS

Values = Float64[np.ndarray, "unit place"]


def mean_states(states: Sequence[TextStates], source: Source) -> tuple[MeanStates, ...]:
    """Average every text's states over its tokens.

    Args:
        states: Of all texts, in order.
        source: Whose change.
    """
    found = []
    for kind in ("hidden", "keys", "values"):
        changes = [_of(one, kind) for one in states]
        held = [one for one in changes if one is not None]
        if held and len(held) == len(changes):
            found.append(
                MeanStates(
                    kind=kind,
                    source=source,
                    texts=tuple(one.name for one in states),
                    relative=np.stack([_over_tokens(one.relative) for one in held]),
                    cosine=np.stack([_over_tokens(one.cosine) for one in held]),
                )
            )
    return tuple(found)


def layer_levels(
    means: Sequence[MeanStates],
    subjects: Sequence[str],
    cache_layers: Sequence[int],
    seed: int,
) -> tuple[LayerLevel, ...]:
    """Mean over texts of each layer's states, heads averaged.

    Args:
        means: By kind and source.
        subjects: Of each text; texts of one are averaged first.
        cache_layers: Number of the block of each row of keys and values.
        seed: The run's seed, for draws.
    """
    found: list[LayerLevel] = []
    for one in means:
        rows = (_over_heads(one.relative), _over_heads(one.cosine))
        relative, cosine = (intervals(by_unit(row, subjects), seed) for row in rows)
        layers = range(len(relative)) if one.kind == "hidden" else cache_layers
        found += [
            LayerLevel(
                kind=one.kind, source=one.source, layer=layer, relative=rel, cosine=cos
            )
            for layer, rel, cos in zip(layers, relative, cosine, strict=True)
        ]
    return tuple(found)


def role_levels(states: Sequence[TextStates], seed: int) -> tuple[RoleLevel, ...]:
    """Mean over subjects of hidden states at tokens of each role, layer by layer."""
    found: list[RoleLevel] = []
    for role in ROLES:
        rows, subjects = [], []
        for one in states:
            tokens = [n for n, roles in enumerate(one.roles) if role in roles]
            if tokens:
                hidden = one.hidden
                both = np.stack([hidden.relative[:, 0], hidden.cosine[:, 0]])
                rows.append(both[:, :, tokens].astype(float).mean(axis=2))
                subjects.append(one.subject)
        if rows:
            relative, cosine = (
                intervals(by_unit(np.stack([row[n] for row in rows]), subjects), seed)
                for n in range(2)
            )
            found += [
                RoleLevel(role=role, layer=layer, relative=rel, cosine=cos)
                for layer, (rel, cos) in enumerate(zip(relative, cosine, strict=True))
            ]
    return tuple(found)


def lens_levels(lenses: Sequence[FactLens], seed: int) -> tuple[LensLevel, ...]:
    """Mean over subjects of what each block says of both answers."""
    if not lenses:
        return ()
    subjects = [one.subject for one in lenses]
    answers = [
        intervals(
            by_unit(np.stack([one.answer_p[n] for one in lenses]), subjects), seed
        )
        for n in range(2)
    ]
    foils: list[list[Interval]] | None = None
    held = [(one.subject, one.foil_p) for one in lenses if one.foil_p is not None]
    if held:
        named = [subject for subject, _ in held]
        foils = [
            intervals(by_unit(np.stack([p[n] for _, p in held]), named), seed)
            for n in range(2)
        ]
    return tuple(
        LensLevel(
            layer=layer,
            answer_before=answers[0][layer],
            answer_after=answers[1][layer],
            foil_before=None if foils is None else foils[0][layer],
            foil_after=None if foils is None else foils[1][layer],
        )
        for layer in range(len(answers[0]))
    )


def surprise_change(texts: Sequence[TextReadings], seed: int) -> Mapping[str, Interval]:
    """Change of surprise and entropy per token, mean over texts."""
    if not texts:
        return {}
    rows = []
    for one in texts:
        first = one.spelled.num_context
        rows.append(
            [
                (one.after.surprise - one.before.surprise)[first:].mean(),
                (one.after.entropy - one.before.entropy)[first:].mean(),
            ]
        )
    found = intervals(np.array(rows), seed)
    return dict(zip(("surprise", "entropy"), found, strict=True))


def first_changed(
    states: Sequence[TextStates], cache_layers: Sequence[int]
) -> int | None:
    """First block of which anything is not equal, bit for bit, in some text."""
    layers = [n for one in states for n in _moved(one.hidden)]
    for one in states:
        for change in (one.keys, one.values):
            if change is not None:
                layers += [cache_layers[n] for n in _moved(change)]
    return min(layers, default=None)


def intervals(values: Values, seed: int) -> list[Interval]:
    """Mean of every column with a percentile bootstrap over rows.

    >>> found = intervals(np.array([[0.0, 1.0], [0.0, 3.0]]), seed=0)
    >>> [(one.estimate, one.low, one.high, one.num) for one in found]
    [(0.0, 0.0, 0.0, 2), (2.0, 1.0, 3.0, 2)]
    """
    num = len(values)
    rng = np.random.default_rng(child_seed(seed, "states"))
    drawn = rng.multinomial(num, np.full(num, 1 / num), size=NUM_DRAWS) / num
    low, high = np.quantile(drawn @ values, [0.025, 0.975], axis=0)
    means = values.mean(axis=0)
    return [
        Interval(estimate=float(m), low=float(a), high=float(b), level=0.95, num=num)
        for m, a, b in zip(means, low, high, strict=True)
    ]


def by_unit(values: Values, units: Sequence[str]) -> Float64[np.ndarray, "once place"]:
    """Mean of the rows of each unit, in the order in which units first come."""
    order = {unit: number for number, unit in enumerate(dict.fromkeys(units))}
    place = np.array([order[unit] for unit in units])
    return np.stack([values[place == number].mean(axis=0) for number in order.values()])


def _of(states: TextStates, kind: StateKind) -> StateChange | None:
    return {"hidden": states.hidden, "keys": states.keys, "values": states.values}[kind]


def _over_tokens(values: np.ndarray) -> Float64[np.ndarray, "layer head"]:
    """Mean over the tokens that a layer holds; NaN for a head that it has not."""
    held = np.isfinite(values)
    sums = np.where(held, values, 0).sum(axis=2, dtype=float)
    return np.where(held.any(axis=2), sums / np.maximum(held.sum(axis=2), 1), np.nan)


def _over_heads(values: Float64[np.ndarray, "text layer head"]) -> Values:
    return np.nanmean(values, axis=2)


def _moved(change: StateChange) -> Iterator[int]:
    """Layers of a change in which something moved."""
    moved = np.nan_to_num(change.relative).any(axis=(1, 2))
    return (int(layer) for layer in np.flatnonzero(moved))
