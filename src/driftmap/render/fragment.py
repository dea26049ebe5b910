"""How does a part of a page become HTML that stands inside another page?

A notebook shows it: no script, no request, one `div` whose style reaches no further.
Pictures are inside as data. Text is escaped first, as on the whole page.
"""

import base64
from collections.abc import Callable, Sequence
from functools import singledispatch

from markupsafe import Markup

from driftmap.render.coloured import ColouredText, ColouredTexts, ColourScale, visible
from driftmap.render.html import inline
from driftmap.render.page import (
    Callout,
    Facts,
    Figure,
    Folded,
    Grid,
    Node,
    Paragraph,
    Picker,
    Row,
    Terms,
)
from driftmap.render.text import node_text
from driftmap.render.wording import unmarked

Picture = Callable[[Figure], bytes]
"""Draws a figure as SVG."""

STYLE = """
.driftmap { font: 14px/1.5 system-ui, sans-serif; max-width: 60rem; }
.driftmap h3, .driftmap h4 { margin: .9em 0 .3em; }
.driftmap .callout { border-left: 4px solid #868e96; padding: .3em .9em; margin: .7em 0;
  background: rgba(134, 142, 150, .12); border-radius: 0 6px 6px 0; }
.driftmap .callout.verdict { border-color: #1c7ed6; }
.driftmap .callout.caution { border-color: #c98a00; }
.driftmap .callout.blocking { border-color: #e03131; }
.driftmap .scroll { overflow-x: auto; }
.driftmap table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.driftmap th, .driftmap td { text-align: left; padding: .2em .7em;
  border-bottom: 1px solid rgba(134, 142, 150, .35); }
.driftmap .number { text-align: right; }
.driftmap figure { margin: .9em 0; }
.driftmap figure img { max-width: 100%; background: #ffffff; border-radius: 6px; }
.driftmap figcaption, .driftmap caption { text-align: left; opacity: .75; }
.driftmap pre { white-space: pre-wrap; }
.driftmap .pieces { white-space: pre-wrap; line-height: 2; }
.driftmap .pieces span[style] { color: #1b1f24; border-radius: 3px; }
"""

_SEQUENTIAL = ("", "#fff3c4", "#fed98e", "#fe9929", "#e8731a")
_DIVERGING = (
    "#d98a2b", "#f1a340", "#fee0b6", "", "#d1e5f0", "#67a9cf", "#5b9bd5",
)  # fmt: skip


def fragment_of(title: str, nodes: Sequence[Node], picture: Picture) -> str:
    """Write nodes as HTML for a page that is somebody else's.

    Args:
        title: A heading over them.
        nodes: What is shown; of a picker the chart that is shown first.
        picture: Draws a figure.

    Returns:
        One `div` element.
    """
    drawn = Markup("\n").join(_html(node, picture) for node in nodes)
    heading = Markup("<h3>{}</h3>").format(inline(title))
    style = Markup(f"<style>{STYLE}</style>")
    return str(Markup('<div class="driftmap">{}{}\n{}</div>').format(
        style, heading, drawn
    ))  # fmt: skip


@singledispatch
def _html(node: Node, picture: Picture) -> Markup:
    """What a notebook has no better form for is shown as text."""
    del picture
    return Markup("<pre>{}</pre>").format(node_text(node))


@_html.register
def _(node: Paragraph, picture: Picture) -> Markup:
    del picture
    return Markup("<p>{}</p>").format(inline(node.text))


@_html.register
def _(node: Callout, picture: Picture) -> Markup:
    del picture
    said = Markup("").join(Markup("<p>{}</p>").format(inline(t)) for t in node.texts)
    return Markup('<div class="callout {}"><strong>{}</strong>{}</div>').format(
        node.kind, inline(node.title), said
    )


@_html.register
def _(node: Facts, picture: Picture) -> Markup:
    del picture
    return _pairs(node.pairs)


@_html.register
def _(node: Terms, picture: Picture) -> Markup:
    del picture
    return _pairs(node.pairs)


@_html.register
def _(node: Grid, picture: Picture) -> Markup:
    del picture
    head = _cells("th", node.columns, node.align_right)
    rows = Markup("").join(_cells("td", row, node.align_right) for row in node.rows)
    return Markup(
        '<div class="scroll"><table><caption>{}</caption>{}{}</table></div>'
    ).format(inline(node.caption), head, rows)


@_html.register
def _(node: Figure, picture: Picture) -> Markup:
    data = base64.b64encode(picture(node)).decode("ascii")
    return Markup(
        '<figure><img alt="{}" src="data:image/svg+xml;base64,{}">'
        "<figcaption>{}</figcaption></figure>"
    ).format(unmarked(node.title), data, inline(node.reading))


@_html.register
def _(node: Picker, picture: Picture) -> Markup:
    return _html(node.shown_first(), picture)


@_html.register
def _(node: Row, picture: Picture) -> Markup:
    return Markup("").join(_html(figure, picture) for figure in node.figures)


@_html.register
def _(node: Folded, picture: Picture) -> Markup:
    inside = Markup("").join(_html(child, picture) for child in node.nodes)
    return Markup("<details><summary>{}</summary>{}</details>").format(
        inline(node.summary), inside
    )


@_html.register
def _(node: ColouredTexts, picture: Picture) -> Markup:
    del picture
    caption = Markup("<p>{}</p>").format(inline(node.caption)) if node.caption else ""
    texts = Markup("").join(_coloured(text, node.scale) for text in node.texts)
    scale = Markup("<p><strong>{}</strong> {}</p>").format(
        inline(node.scale.name), inline(node.scale.note)
    )
    return Markup("{}{}{}").format(caption, scale, texts)


def _coloured(text: ColouredText, scale: ColourScale) -> Markup:
    colours = _DIVERGING if scale.form == "diverging" else _SEQUENTIAL
    pieces = Markup("")
    for piece in text.pieces:
        colour = ""
        if piece.value is not None and not piece.is_context:
            colour = colours[scale.colour(scale.level(piece.value))]
        style = Markup(' style="background:{}"').format(colour) if colour else ""
        pieces += Markup('<span title="{}"{}>{}</span>').format(
            visible(piece.note), style, visible(piece.text)
        )
    return Markup('<p><strong>{}</strong></p><div class="pieces">{}</div>').format(
        inline(text.title), pieces
    )


def _pairs(pairs: Sequence[tuple[str, str]]) -> Markup:
    rows = Markup("").join(
        Markup("<tr><th>{}</th><td>{}</td></tr>").format(inline(name), inline(value))
        for name, value in pairs
    )
    return Markup('<div class="scroll"><table>{}</table></div>').format(rows)


def _cells(tag: str, cells: Sequence[str], align_right: frozenset[int]) -> Markup:
    row = Markup("")
    for number, cell in enumerate(cells):
        kind = Markup(' class="number"') if number in align_right else ""
        row += Markup("<{}{}>{}</{}>").format(tag, kind, inline(str(cell)), tag)
    return Markup("<tr>{}</tr>").format(row)
