"""How is what both models read shown, before and after?"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from driftmap.core.quoted import quoted
from driftmap.render.bands import banded
from driftmap.render.charts import Line, Lines
from driftmap.render.coloured import (
    ColouredText,
    ColouredTexts,
    diverging_scale,
    quantile_scale,
)
from driftmap.render.compare_states import cache_nodes, state_nodes
from driftmap.render.compare_tokens import Piece, coloured, pieces
from driftmap.render.page import (
    Callout,
    Choices,
    Folded,
    Node,
    Paragraph,
    Picker,
    Section,
    Terms,
)
from driftmap.render.wording import number
from driftmap.results.readings import TokenNumbers
from driftmap.results.readings_change import (
    FactLens,
    LensLevel,
    ReadingsChange,
    TextReadings,
)
from driftmap.results.statistics import Interval
from driftmap.stats.claims.readings import first_words, identical_words

DESCRIBES = (
    "Readings, states and lenses describe both models; nothing was changed, and where "
    "two states lie far apart is not where the change acts or where editing works best "
    "(2301.04213)."
)

METHOD = (
    (
        "Surprise and entropy",
        "-ln p of the token that stands there, and how unsure the model was before it, "
        "both in nats. The first token has no reading.",
    ),
    (
        "Relative change",
        "|after - before| / |before| of one state at one token: a hidden state is a "
        "block's output before any final norm. 0 means equal, bit for bit.",
    ),
    (
        "Cosine",
        "Of the state before and after; 1 means that it has not turned. In hidden "
        "states of many models a few large coordinates hold it near 1.",
    ),
    (
        "Keys and values",
        "As the model's own cache holds them: keys after rotary position embedding, "
        "where it has one, and heads as they are stored, which under grouped queries "
        "is fewer than look at them. Rotary turns a key before and after by the same "
        "angle, so both numbers are the same before rotary.",
    ),
    (
        "What chance gives",
        "The same texts under a model whose matrices were each changed at random by "
        "the same length. An adapter that changes nothing gives 0.",
    ),
    (
        "Lens",
        "The model's own last norm and head on a block's output: probability of the "
        "first token of each answer if the model ended there.",
    ),
)


def readings_section(found: ReadingsChange) -> Section:
    """The page's section on what both models read."""
    return Section(anchor="readings", title="What it reads", nodes=[*_nodes(found)])


def _nodes(found: ReadingsChange) -> Iterator[Node]:
    if found.is_identical:
        yield Callout(kind="note", title="Identical", texts=[identical_words(found)])
        yield from cache_nodes(found)
        return
    yield Callout(kind="caution", title="Description", texts=[DESCRIBES])
    if found.texts:
        yield _difference(found.texts, "surprise", _surprise)
        yield Folded(
            summary="Both models beside each other, and entropy",
            nodes=[
                _beside(found.texts, "surprise", _surprise),
                _difference(found.texts, "entropy", _entropy),
                _beside(found.texts, "entropy", _entropy),
            ],
        )
    yield from _means(found)
    yield from state_nodes(found)
    yield from cache_nodes(found)
    yield from _lens(found)
    yield Folded(summary="How readings are compared", nodes=[Terms(pairs=METHOD)])


Read = Callable[[TokenNumbers, Piece], float]


def _surprise(numbers: TokenNumbers, piece: Piece) -> float:
    return float(numbers.surprise[piece.first : piece.past].sum())


def _entropy(numbers: TokenNumbers, piece: Piece) -> float:
    return float(numbers.entropy[piece.first : piece.past].max())


def _difference(texts: Sequence[TextReadings], what: str, read: Read) -> ColouredTexts:
    low, high = {
        "surprise": ("more expected now", "less expected now"),
        "entropy": ("surer now", "less sure now"),
    }[what]
    return ColouredTexts(
        caption=f"Change of {what} of each token, after minus before, in nats; one "
        "scale for all texts. Point at a token for its numbers, base → tuned.",
        scale=diverging_scale(f"change of {what} (nats)", low=low, high=high),
        texts=[_text(one, read, what) for one in texts],
    )


def _text(text: TextReadings, read: Read, what: str) -> ColouredText:
    def apart(piece: Piece) -> float:
        return read(text.after, piece) - read(text.before, piece)

    first = text.spelled.num_context
    values = {"surprise": (text.before.surprise, text.after.surprise)}
    before, after = values.get(what, (text.before.entropy, text.after.entropy))
    return coloured(
        text,
        apart,
        note=f"mean {what} {number(float(before[first:].mean()))} → "
        f"{number(float(after[first:].mean()))} nats",
    )


def _beside(texts: Sequence[TextReadings], what: str, read: Read) -> ColouredTexts:
    values = [
        read(numbers, piece)
        for text in texts
        for piece in pieces(text)
        if piece.is_read
        for numbers in (text.before, text.after)
    ]
    low, high = {
        "surprise": ("expected", "unexpected"),
        "entropy": ("sure", "unsure"),
    }[what]
    return ColouredTexts(
        caption=f"The {what} of each token under the base and under the tuned model, "
        "one scale for both.",
        scale=quantile_scale(f"{what} (nats)", values, low=low, high=high),
        texts=[_of(text, name, read) for text in texts for name in ("base", "tuned")],
    )


def _of(text: TextReadings, name: str, read: Read) -> ColouredText:
    numbers = text.before if name == "base" else text.after
    mean = np.mean([read(numbers, one) for one in pieces(text) if one.is_read])
    return coloured(
        text,
        lambda piece: read(numbers, piece),
        note=f"mean {number(float(mean))} nats",
        title=f"{text.name}, {name}",
    )


def _means(found: ReadingsChange) -> Iterator[Node]:
    told = [
        f"{name} per token {_signed(value)}" for name, value in found.surprise.items()
    ]
    sentences = [first_words(found)]
    if told:
        num = next(iter(found.surprise.values())).num
        sentences.append(
            f"Change on {num} texts, after minus before: {', '.join(told)}."
        )
    yield Paragraph(text=" ".join(filter(None, sentences)))


def _signed(value: Interval) -> str:
    if value.num == 1:
        return f"{value.estimate:+.3g} nats (a single text, no interval)"
    return f"{value.estimate:+.3g} nats ({value.low:+.3g} to {value.high:+.3g})"


def _lens(found: ReadingsChange) -> Iterator[Node]:
    if not found.lens:
        return
    names = ["all facts, mean", *(_fact(one) for one in found.lenses)]
    charts = [_mean_chart(found.lens), *map(_fact_chart, found.lenses)]
    num = found.lens[0].answer_before.num
    yield Picker(
        name="readings-lens",
        title="What each block's output says of both answers",
        reading="Probability of the first token of the answer and of the foil after "
        "the prompt, if the model ended after this block; mean over "
        f"{num} subjects with 95 % bands, or any single fact. The last block is the "
        "model itself. A description: it does not show which block brings an answer "
        "about.",
        choices=[Choices(name="fact", options=names)],
        charts=charts,
    )


def _fact(one: FactLens) -> str:
    return f"{quoted(one.prompt)} {quoted(one.answer)}"


def _mean_chart(levels: Sequence[LensLevel]) -> Lines:
    layers = [one.layer for one in levels]
    rows = [
        ("answer, before", [one.answer_before for one in levels]),
        ("answer, after", [one.answer_after for one in levels]),
        ("foil, before", [one.foil_before for one in levels]),
        ("foil, after", [one.foil_after for one in levels]),
    ]
    lines = []
    for name, values in rows:
        if any(one is not None for one in values):
            lines.append(banded(name, layers, values, ROLES[name]))
    return _chart(lines)


ROLES = {
    "answer, before": "random",
    "answer, after": "matched",
    "foil, before": "top",
    "foil, after": "difference",
}


def _fact_chart(one: FactLens) -> Lines:
    layers = np.arange(one.answer_p.shape[1]).tolist()
    rows = [("answer", one.answer_p)]
    if one.foil_p is not None:
        rows.append(("foil", one.foil_p))
    return _chart(
        [
            Line(
                name=f"{name}, {when}",
                x=layers,
                y=p[number].tolist(),
                role=ROLES[f"{name}, {when}"],
            )
            for name, p in rows
            for number, when in enumerate(("before", "after"))
        ]
    )


def _chart(lines: Sequence[Line]) -> Lines:
    return Lines(x_title="block", y_title="probability", lines=lines, y_ends=(0.0, 1.0))
