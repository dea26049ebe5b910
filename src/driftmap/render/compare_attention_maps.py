"""What do two models look at in a text, token by token, and where do they differ?"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.core.quoted import quoted
from driftmap.render.page import Choices, Folded, Grid, Node, Picker
from driftmap.render.token_charts import TokenMap, seen_token
from driftmap.results.attention_change import AttentionChange, TextAttention

SHOWN = ("base", "tuned", "tuned minus base")

MOST_HEADS = 48
"""Heads of one text that can be chosen."""

AVERAGED = "all, averaged"

NUM_TOP = 3


def text_nodes(
    found: AttentionChange, text: TextAttention, number: int
) -> Iterator[Node]:
    """One text: whole maps of both models, then what given words get.

    Args:
        found: Whose text it is.
        text: The text.
        number: Which of the texts, from 0.
    """
    yield _maps(found, text, number)
    yield _words(found, text)


def _maps(found: AttentionChange, text: TextAttention, number: int) -> Picker:
    """Any layer and head of either model, and their difference."""
    scale = _largest(text)
    heads = _shown_heads(text)
    num_there = sum(place.num_heads for place in found.places)
    if len(heads) == num_there and len({p.num_heads for p in found.places}) == 1:
        return _by_layer_and_head(found, text, number, scale)
    few = f" Of {num_there} heads, the {len(heads)} that moved most can be chosen."
    names = [f"layer {place.layer}, {AVERAGED}" for place in found.places]
    names += [f"layer {found.places[place].layer}, head {h}" for place, h in heads]
    pairs = [(text.before[n], text.after[n]) for n in range(len(found.places))]
    pairs += [_pair(text, place, head) for place, head in heads]
    return _picker(
        text, number, scale, [Choices(name="map", options=names)], pairs, few
    )


def _by_layer_and_head(
    found: AttentionChange, text: TextAttention, number: int, scale: float
) -> Picker:
    num_heads = found.places[0].num_heads
    layers = Choices(name="layer", options=[str(p.layer) for p in found.places])
    heads = Choices(name="head", options=[AVERAGED, *map(str, range(num_heads))])
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    for place in range(len(found.places)):
        pairs.append((text.before[place], text.after[place]))
        pairs += [_pair(text, place, head) for head in range(num_heads)]
    return _picker(text, number, scale, [layers, heads], pairs, "")


def _picker(
    text: TextAttention,
    number: int,
    scale: float,
    choices: Sequence[Choices],
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    few: str,
) -> Picker:
    later = "" if len(text.rows) == len(text.tokens) else (
        f" The last {len(text.rows)} tokens look; there is no room for more."
    )  # fmt: skip
    moved = [float(np.abs(after - before).max()) for before, after in pairs]
    return Picker(
        name=f"compare-attention-text-{number + 1}",
        title=f"{quoted(text.text.strip())}: what each token looks at, in both models",
        reading="Rows look, columns are looked at; the subject's tokens and given "
        "words are marked `*`. Both models are shown on one scale from 0 to 1, the "
        "differences of all layers and heads of this text on one from "
        f"-{scale:.2f} to {scale:.2f}. "
        f"Nothing was changed here: a description of one text, without interval.{few}"
        f"{later}",
        choices=[*choices, Choices(name="shown", options=SHOWN)],
        charts=[
            _map(text, values, ends)
            for before, after in pairs
            for values, ends in (
                (before, None), (after, None), (after - before, (-scale, scale)),
            )
        ],
        first=3 * int(np.argmax(moved)) + 2,
    )  # fmt: skip


def _map(
    text: TextAttention, values: np.ndarray, ends: tuple[float, float] | None
) -> TokenMap:
    rows = list(text.rows)
    starred = [n for n, row in enumerate(rows) if row in text.starred]
    return TokenMap(
        tokens=[text.tokens[row] for row in rows],
        x_labels=text.tokens,
        x_title="looked at",
        y_title="looking",
        values=np.round(values.astype(float), 3).tolist(),
        value_title="weight" if ends is None else "change",
        hue="weight" if ends is None else "difference",
        ends=(0.0, 1.0) if ends is None else ends,
        starred=starred,
    )


def _largest(text: TextAttention) -> float:
    """The largest difference of any head, rounded up: the end of the one scale."""
    moved = [np.abs(text.after - text.before).max(initial=0.0)]
    moved.append(np.nanmax(np.abs(text.head_after - text.head_before), initial=0.0))
    return max(0.01, float(np.ceil(100 * max(moved)) / 100))


def _shown_heads(text: TextAttention) -> list[tuple[int, int]]:
    """Those that moved most, in order of layers."""
    moved = np.abs(text.head_after - text.head_before).max(axis=(1, 2))
    order = np.argsort(-moved, kind="stable")[:MOST_HEADS]
    return [text.heads[number] for number in sorted(order.tolist())]


def _pair(text: TextAttention, place: int, head: int) -> tuple[np.ndarray, np.ndarray]:
    number = text.heads.index((place, head))
    return text.head_before[number], text.head_after[number]


def _words(found: AttentionChange, text: TextAttention) -> Folded:
    """What the last token of a text looks at: marked words, layer by layer."""
    before, after = (np.nanmean(r, axis=1) for r in (text.row_before, text.row_after))
    last = seen_token(text.tokens[-1])
    return Folded(
        summary=f"{quoted(text.text.strip())}: what its last token looks at",
        nodes=[
            Grid(
                caption=f"From “{last}”, heads averaged: weight in base → tuned "
                "(change). One text, so no interval",
                columns=["layer", "first token", *text.words, "moved most"],
                rows=[
                    [
                        str(place.layer),
                        _both(before[n], after[n], (0,)),
                        *(
                            _both(before[n], after[n], tokens)
                            for tokens in text.words.values()
                        ),
                        _moved_most(text, after[n] - before[n]),
                    ]
                    for n, place in enumerate(found.places)
                ],
                align_right=frozenset(range(1, 2 + len(text.words))),
            )
        ],
    )


def _both(before: np.ndarray, after: np.ndarray, tokens: Sequence[int]) -> str:
    own = list(tokens)
    old, new = float(before[own].sum()), float(after[own].sum())
    return f"{old:.2f} → {new:.2f} ({new - old:+.3f})"


def _moved_most(text: TextAttention, moved: np.ndarray) -> str:
    top = np.argsort(-np.abs(moved), kind="stable")[:NUM_TOP]
    return ", ".join(
        f"{seen_token(text.tokens[n])} {moved[n]:+.2f}" for n in top.tolist()
    )
