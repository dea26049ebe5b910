"""How honest does each token of a text look, layer by layer?"""

from collections.abc import Iterator, Sequence

import numpy as np

from driftmap.core.quoted import quoted
from driftmap.render.charts import Chart
from driftmap.render.coloured import (
    ColouredPiece,
    ColouredText,
    ColouredTexts,
    diverging_scale,
)
from driftmap.render.honesty_words import NOT_TRUTH, several
from driftmap.render.page import (
    Choices,
    Figure,
    Folded,
    Node,
    Paragraph,
    Picker,
    Section,
)
from driftmap.render.token_charts import TokenMap
from driftmap.results.honesty import HonestyResult, ScoredText, TextKind
from driftmap.stats.honesty_verdict import layers_words

MOST_ROWS = 120
"""Tokens of a text that a map shows; the coloured text has all."""

MOST_NAMES = 4
"""Texts, or pairs of them, that are shown without asking."""

KINDS: dict[TextKind, str] = {
    "honest": "honest instruction",
    "dishonest": "dishonest instruction",
    "given": "given text",
}


def token_sections(
    result: HonestyResult, texts: Sequence[ScoredText]
) -> Iterator[Section]:
    """Texts in colours side by side, and maps of tokens by layers."""
    if not texts:
        return
    nodes: list[Node] = [Paragraph(text=_opening(result))]
    names = list(dict.fromkeys(text.name for text in texts))
    coloured: list[Node] = [
        _coloured(name, [text for text in texts if text.name == name], result)
        for name in names
    ]
    nodes += coloured[:MOST_NAMES]
    if len(names) > MOST_NAMES:
        more = len(names) - MOST_NAMES
        nodes.append(
            Folded(summary=f"{several(more, 'more text')}", nodes=coloured[MOST_NAMES:])
        )
    nodes.append(Paragraph(text=NOT_TRUTH))
    ends = _ends(texts)
    first = [text for text in texts if text.name == names[0]]
    nodes += [_map(number, text, ends) for number, text in enumerate(first)]
    if len(texts) > len(first):
        nodes.append(_picker(texts, ends, len(first)))
    yield Section(anchor="tokens", title="Token by token", nodes=nodes)


def _opening(result: HonestyResult) -> str:
    return (
        "The score of a state is 0 halfway between the two instructions, 1 a spread "
        "towards the honest one, -1 a spread towards the dishonest one. Texts have the "
        f"mean over {layers_words(result.band.layers)}, maps every layer. Grey tokens "
        "were put to the model; the others it said, or was given to read."
    )


def _coloured(
    name: str, texts: Sequence[ScoredText], result: HonestyResult
) -> ColouredTexts:
    return ColouredTexts(
        caption=quoted(name),
        scale=diverging_scale("score (spreads)", low="dishonest", high="honest"),
        texts=[
            ColouredText(
                title=quoted(text.title, 120),
                note=_mean_note(text),
                pieces=_pieces(text, result),
            )
            for text in texts
        ],
    )


def _pieces(text: ScoredText, result: HonestyResult) -> list[ColouredPiece]:
    """Tokens of a character stand together: the last one holds its sign."""
    words = layers_words(result.band.layers)
    return [
        ColouredPiece(
            text=piece,
            value=float(text.band_score[token]),
            note=f"{float(text.band_score[token]):+.2f}, mean of {words}",
            is_context=bool(text.is_prompt[token]),
        )
        for token, piece in enumerate(text.pieces)
        if piece
    ]


def _mean_note(text: ScoredText) -> str:
    said = text.band_score[~text.is_prompt]
    if not said.size:
        return KINDS[text.kind]
    below = float(np.mean(said < 0))
    return (
        f"{KINDS[text.kind]}; mean score {float(said.mean()):+.2f}, "
        f"{100 * below:.0f} % of tokens below 0"
    )


def _map(number: int, text: ScoredText, ends: tuple[float, float]) -> Figure:
    return Figure(
        name=f"honesty-map-{number}",
        title=f"{quoted(text.name)}, {quoted(text.title, 120)}: score by token and "
        "layer",
        reading=_reading(text, ends),
        chart=_chart(text, ends),
    )


def _picker(
    texts: Sequence[ScoredText], ends: tuple[float, float], first: int
) -> Picker:
    charts: list[Chart] = [_chart(text, ends) for text in texts]
    return Picker(
        name="honesty-map-any",
        title=f"Any of {len(texts)} texts",
        reading=_reading(texts[first], ends),
        choices=[
            Choices(
                name="text",
                options=[f"{quoted(t.name)}, {quoted(t.title)}" for t in texts],
            )
        ],
        charts=charts,
        notes=[f"{_mean_note(text)}." for text in texts],
        first=first,
    )


def _reading(text: ScoredText, ends: tuple[float, float]) -> str:
    cut = (
        f" The last {MOST_ROWS} of {len(_shown(text)):,} tokens."
        if len(_shown(text)) > MOST_ROWS
        else ""
    )
    said = " `*`: said by the model." if text.is_prompt.any() else ""
    return (
        "What was changed: nothing; states are read. Blue: more like the honest "
        "instruction, orange to red: more like the dishonest one, full at "
        f"{ends[1]:.2g} either way.{said} What chance gives: colours of both kinds in "
        f"no order. What it does not show: whether what is said is true.{cut}"
    )


def _chart(text: ScoredText, ends: tuple[float, float]) -> TokenMap:
    rows, prompt = _shown(text)[-MOST_ROWS:], text.is_prompt
    has_prompt = bool(prompt.any())
    return TokenMap(
        tokens=[text.pieces[row] for row in rows],
        x_labels=[str(layer) for layer in text.layers],
        x_title="layer",
        values=[text.score[row].astype(float).tolist() for row in rows],
        value_title="score (spreads)",
        hue="honesty",
        ends=ends,
        starred=[n for n, row in enumerate(rows) if has_prompt and not prompt[row]],
    )


def _shown(text: ScoredText) -> list[int]:
    """Tokens that hold a sign of their own."""
    return [row for row, piece in enumerate(text.pieces) if piece]


def _ends(texts: Sequence[ScoredText]) -> tuple[float, float]:
    """One scale for all maps; the outermost fiftieth has the fullest colour."""
    sizes = np.concatenate([np.abs(t.score[_shown(t)]).ravel() for t in texts])
    reach = float(np.quantile(sizes, 0.98)) if sizes.size else 1.0
    return -max(reach, 1.0), max(reach, 1.0)
