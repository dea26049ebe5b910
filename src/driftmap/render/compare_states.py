"""How far do hidden states, keys and values lie apart, by layer, head and token?"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.core.quoted import quoted
from driftmap.core.units import format_bytes
from driftmap.render.charts import Line, Lines
from driftmap.render.page import (
    Choices,
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Picker,
)
from driftmap.render.token_charts import TokenMap
from driftmap.results.readings_change import (
    LayerLevel,
    MeanStates,
    ReadingsChange,
    RoleLevel,
    Source,
    StateChange,
    StateKind,
    TextStates,
)

TITLES: dict[StateKind, str] = {
    "hidden": "hidden states", "keys": "keys", "values": "values",
}  # fmt: skip

KINDS: tuple[StateKind, ...] = ("hidden", "keys", "values")
SOURCES: tuple[Source, ...] = ("tuned", "chance")

OF_CHANCE = " of the random change"

MOST_NUMBERS = 120_000
"""Numbers that the maps of single heads hold together: more makes the page heavy."""

CHANCE = "Lines of a random change say what chance gives at the same size per matrix."


def state_nodes(found: ReadingsChange) -> Iterator[Node]:
    """Layers, layers by heads, roles, and tokens."""
    if not found.means:
        return
    yield _by_layer(found)
    yield from _by_head(found)
    yield from _by_role(found)
    yield from _by_token(found)


def cache_nodes(found: ReadingsChange) -> Iterator[Node]:
    """What the cache holds, and what it takes."""
    if found.no_cache:
        yield Paragraph(text=f"Keys and values: {found.no_cache}.")
    if not found.cache:
        return
    shapes = {(o.num_heads, o.key_width, o.value_width) for o in found.cache}
    total = sum(one.bytes_per_token for one in found.cache)
    same = all(one.is_same for one in found.cache)
    if len(shapes) == 1:
        one = found.cache[0]
        held = (
            f"{len(found.cache)} layers x {one.num_heads} heads, keys of "
            f"{one.key_width} and values of {one.value_width} numbers"
        )
        room = f"{total:,} ({format_bytes(1024 * total)} for 1,024 tokens)"
        tuned = "the same shape and type" if same else "another shape or type"
        yield Facts(
            pairs=[("cache", held), ("bytes per token", room), ("when tuned", tuned)]
        )
        return
    yield Grid(
        caption=f"What the cache holds: {total:,} bytes per token in all.",
        columns=["layer", "heads", "key", "value", "bytes per token", "tuned"],
        rows=[
            [str(one.layer), str(one.num_heads), str(one.key_width),
             str(one.value_width), f"{one.bytes_per_token:,}",
             "the same" if one.is_same else "another"]
            for one in found.cache
        ],
        align_right=frozenset(range(5)),
    )  # fmt: skip


def _by_layer(found: ReadingsChange) -> Figure:
    num = found.layers[0].relative.num
    why = f" No random change: {found.no_chance}." if found.no_chance else f" {CHANCE}"
    return Figure(
        name="readings-layers",
        title="How far states lie apart, by layer",
        reading=f"Relative change, mean over {num} texts and subjects of their tokens "
        "and heads, with 95 % bands. A block's keys and values come from its input, "
        f"its hidden state is its output.{why} What it does not show: which block "
        "brings the new behaviour about.",
        chart=Lines(
            x_title="block",
            y_title="relative change (ratio)",
            lines=[*_lines(found.layers)],
            y_from_zero=True,
        ),
    )


def _lines(levels: Sequence[LayerLevel]) -> Iterator[Line]:
    roles = {"hidden": "restored hidden", "keys": "k", "values": "v"}
    for source in SOURCES:
        for kind in KINDS:
            title = TITLES[kind]
            own = [o for o in levels if o.kind == kind and o.source == source]
            if own:
                yield Line(
                    name=title if source == "tuned" else f"{title}, random change",
                    x=[one.layer for one in own],
                    y=[one.relative.estimate for one in own],
                    low=[one.relative.low for one in own] if source == "tuned" else (),
                    high=[one.relative.high for one in own]
                    if source == "tuned"
                    else (),
                    role=roles[kind] if source == "tuned" else f"{kind} by chance",
                )


def _by_head(found: ReadingsChange) -> Iterator[Node]:
    named = [
        (TITLES[one.kind] + (OF_CHANCE if one.source == "chance" else ""), one)
        for one in found.means
        if one.kind != "hidden"
    ]
    if not named:
        return
    yield Picker(
        name="readings-heads",
        title="Keys and values by layer and head",
        reading="Mean over tokens and texts. Heads are those of the cache. Relative "
        "change: 0 means equal; 1 - cosine: 0 means not turned.",
        choices=[
            Choices(name="shown", options=[name for name, _ in named]),
            Choices(name="number", options=["relative change", "1 - cosine"]),
        ],
        charts=[
            _head_map(values, found.cache_layers, title)
            for _, one in named
            for values, title in _pair(one)
        ],
    )


def _pair(one: MeanStates) -> list[tuple[np.ndarray, str]]:
    return [
        (one.relative.mean(axis=0), "relative change"),
        (1 - one.cosine.mean(axis=0), "1 - cosine"),
    ]


def _head_map(values: np.ndarray, layers: Sequence[int], title: str) -> TokenMap:
    return TokenMap(
        tokens=[f"layer {layer}" for layer in layers],
        x_labels=[str(head) for head in range(values.shape[1])],
        x_title="head",
        y_title="layer",
        values=_rounded(values),
        value_title=title,
        hue="weight",
        ends=(0.0, max(float(np.nanmax(values)), 1e-6)),
    )


def _by_role(found: ReadingsChange) -> Iterator[Node]:
    if not found.roles:
        return
    roles = list(dict.fromkeys(one.role for one in found.roles))
    layers = sorted({one.layer for one in found.roles})
    charts = []
    for title, value in (("relative change", _relative), ("1 - cosine", _turned)):
        values = {(one.role, one.layer): value(one) for one in found.roles}
        rows = np.array([[values[role, n] for n in layers] for role in roles])
        charts.append(
            TokenMap(
                tokens=roles,
                x_labels=list(map(str, layers)),
                x_title="block",
                y_title="token of the prompt",
                values=_rounded(rows),
                value_title=title,
                hue="hidden",
                ends=(0.0, max(float(rows.max()), 1e-6)),
            )
        )
    num = max(one.relative.num for one in found.roles)
    yield Picker(
        name="readings-roles",
        title="Hidden states by what a token is in a fact's prompt",
        reading=f"Mean over up to {num} subjects. The last token is where the answer "
        "is foretold.",
        choices=[Choices(name="number", options=["relative change", "1 - cosine"])],
        charts=charts,
    )


def _relative(one: RoleLevel) -> float:
    return one.relative.estimate


def _turned(one: RoleLevel) -> float:
    return 1 - one.cosine.estimate


def _by_token(found: ReadingsChange) -> Iterator[Node]:
    if not found.states:
        return
    kinds: list[StateKind] = [
        kind
        for kind in KINDS
        if all(_state(one, kind) is not None for one in found.states)
    ]
    yield Picker(
        name="readings-tokens",
        title="States token by token",
        reading="Relative change of the state at every token, heads averaged; keys and "
        "values stand at the token that they were made from. Texts, then prompts. What "
        "a block's output says at a token can only change from the first changed block "
        "on.",
        choices=[
            Choices(name="text", options=[_name(one) for one in found.states]),
            Choices(name="shown", options=[TITLES[kind] for kind in kinds]),
        ],
        charts=[
            _token_map(one, kind, found.cache_layers)
            for one in found.states
            for kind in kinds
        ],
    )
    yield from _single_heads(found)


def _token_map(one: TextStates, kind: StateKind, cache: Sequence[int]) -> TokenMap:
    change = _state(one, kind)
    assert change is not None
    held = np.isfinite(change.relative)
    sums = np.where(held, change.relative, 0).sum(axis=1)
    values = np.where(held.any(axis=1), sums / np.maximum(held.sum(axis=1), 1), np.nan)
    layers = range(len(values)) if kind == "hidden" else cache
    return _map(one, values.T, list(map(str, layers)), "block")


def _single_heads(found: ReadingsChange) -> Iterator[Node]:
    """Every head of every layer of one text, where that is not too much."""
    shown = [one for one in found.states if one.keys is not None]
    fits, numbers = [], 0
    for one in shown:
        assert one.keys is not None
        numbers += 2 * one.keys.relative.size
        if numbers <= MOST_NUMBERS:
            fits.append(one)
    if not fits:
        return
    yield Folded(
        summary="Any layer, head by head",
        nodes=[
            Picker(
                name="readings-single-heads",
                title="Keys and values of single heads, token by token",
                reading="Relative change at every token.",
                choices=[
                    Choices(name="text", options=[_name(one) for one in fits]),
                    Choices(name="shown", options=["keys", "values"]),
                    Choices(name="layer", options=list(map(str, found.cache_layers))),
                ],
                charts=[
                    _map(one, values.T, list(map(str, range(len(values)))), "head")
                    for one in fits
                    for change in (one.keys, one.values)
                    if change is not None
                    for values in change.relative
                ],
            )
        ],
    )


def _map(
    one: TextStates, values: np.ndarray, labels: Sequence[str], x_title: str
) -> TokenMap:
    finite = values[np.isfinite(values)]
    return TokenMap(
        tokens=one.tokens,
        x_labels=labels,
        x_title=x_title,
        values=_rounded(values),
        value_title="relative change",
        hue="hidden",
        ends=(0.0, max(float(finite.max(initial=0.0)), 1e-6)),
        starred=[n for n, r in enumerate(one.roles) if any("subject" in x for x in r)],
    )


def _state(one: TextStates, kind: StateKind) -> StateChange | None:
    return {"hidden": one.hidden, "keys": one.keys, "values": one.values}[kind]


def _name(one: TextStates) -> str:
    """A prompt by its words, a text by its name and beginning."""
    words = quoted("".join(one.tokens[:8]).strip(), 40)
    return quoted(one.name, 40) if one.roles else f"{one.name}: {words}"


def _rounded(values: np.ndarray) -> list[list[float]]:
    return [[float(f"{v:.4g}") for v in row] for row in values.astype(float).tolist()]
