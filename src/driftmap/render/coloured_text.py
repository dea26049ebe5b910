"""How does a terminal show a coloured text, and what is left of it without colours?

Background colours in 24 bit where the terminal says that it has them, else the nearest
of 256. Each piece is followed by the mark of its level in any case. Without a terminal,
or where `NO_COLOR` is set (https://no-color.org), marks are all there is.
"""

import re
import textwrap
from collections.abc import Mapping
from typing import Literal, NamedTuple

from driftmap.render.coloured import (
    MARKED,
    MARKS,
    NO_READING,
    ColouredPiece,
    ColouredText,
    ColouredTexts,
    ColourScale,
    Form,
    visible,
)

Colours = Literal["none", "256", "24bit"]

Wish = Literal["auto", "always", "never"]


class Paint(NamedTuple):
    """Background and letters of one level, each as `#rrggbb`."""

    back: str
    front: str


PAINTS: Mapping[Form, tuple[Paint | None, ...]] = {
    "sequential": (
        None,
        Paint("#fff3c4", "#1b1f24"),
        Paint("#fed98e", "#1b1f24"),
        Paint("#fe9929", "#1b1f24"),
        Paint("#b8430a", "#ffffff"),
    ),
    "diverging": (
        Paint("#b35806", "#ffffff"),
        Paint("#f1a340", "#1b1f24"),
        Paint("#fee0b6", "#1b1f24"),
        None,
        Paint("#d1e5f0", "#1b1f24"),
        Paint("#67a9cf", "#1b1f24"),
        Paint("#2166ac", "#ffffff"),
    ),
}
"""Yellow to brown, and orange to blue: pairs that colour-blind readers tell apart
(ColorBrewer). Level 0, and the middle of a diverging scale, stay as the terminal is."""

_END = "\x1b[0m"
_FAINT = "\x1b[2m"
_WIDTH = 88
_CUBE = (0, 95, 135, 175, 215, 255)


def colours_for(
    environment: Mapping[str, str], *, is_terminal: bool, wish: Wish = "auto"
) -> Colours:
    """Which colours there are to write with.

    Args:
        environment: The process's variables: `NO_COLOR`, `TERM` and `COLORTERM` count.
        is_terminal: A terminal shows what is written.
        wish: What a person asked for; `always` and `never` outdo everything.

    >>> colours_for({"COLORTERM": "truecolor"}, is_terminal=True)
    '24bit'
    >>> colours_for({"NO_COLOR": "1"}, is_terminal=True)
    'none'
    >>> colours_for({"NO_COLOR": "1"}, is_terminal=False, wish="always")
    '256'
    """
    is_plain = (
        not is_terminal
        or bool(environment.get("NO_COLOR"))
        or environment.get("TERM") == "dumb"
    )
    if wish == "never" or (wish == "auto" and is_plain):
        return "none"
    told = environment.get("COLORTERM", "").lower()
    return "24bit" if told in ("truecolor", "24bit") else "256"


def terminal_text(node: ColouredTexts, colours: Colours = "none") -> str:
    """Write texts for a terminal: what the colours mean, then one text after the other.

    Args:
        node: The texts and their scale.
        colours: Which there are.

    Returns:
        Lines; no colour reaches past the end of its line.
    """
    parts = [_legend(node.scale, colours)]
    if node.marked:
        parts[0] += f"\n{MARKED} {node.marked}"
    parts += [_one(text, node.scale, colours) for text in node.texts]
    return "\n\n".join(parts)


def _legend(scale: ColourScale, colours: Colours) -> str:
    shown = []
    for level, label in enumerate(scale.labels()):
        mark = MARKS[scale.form][scale.colour(level)] or " "
        shown.append(_painted(f" {mark} {label} ", _paint(scale, level), colours))
    meant = f"{scale.low} to {scale.high}; " if scale.low and scale.high else ""
    told = f"{scale.name}: {meant}{scale.note}; {NO_READING} has no reading"
    return "\n".join([*textwrap.wrap(told, _WIDTH), "|".join(shown)])


def _one(text: ColouredText, scale: ColourScale, colours: Colours) -> str:
    note = f" ({text.note})" if text.note else ""
    title = f"| {visible(text.title)}{visible(note)}"
    body = "".join(_piece(piece, scale, colours) for piece in text.pieces)
    return "\n".join([title, *(f"|   {line}" for line in body.split("\n"))])


def _piece(piece: ColouredPiece, scale: ColourScale, colours: Colours) -> str:
    shown = visible(piece.text).replace("\t", "⇥")
    marked = MARKED if piece.is_marked else ""
    if piece.is_context:
        return _by_line(shown, marked, _FAINT if colours != "none" else "")
    if piece.value is None:
        return _by_line(shown, NO_READING + marked, "")
    level = scale.level(piece.value)
    mark = MARKS[scale.form][scale.colour(level)] + marked
    return _by_line(shown, mark, _start(_paint(scale, level), colours))


def _by_line(text: str, mark: str, start: str) -> str:
    """A piece with its mark before the first line break that ends it.

    Line breaks are shown, and the colour ends before each of them.
    """
    ending = re.search(r"\n*\Z", text)
    assert ending is not None
    body, breaks = text[: ending.start()], text[ending.start() :]
    if not body and breaks:
        body, breaks = "↵", breaks[1:]
        lines = [body + mark, *([""] * (len(breaks) + 1))]
    else:
        lines = (body + mark + breaks).split("\n")
    end = _END if start else ""
    return "\n".join(f"{start}{line}{end}" if line else "" for line in lines)


def _paint(scale: ColourScale, level: int) -> Paint | None:
    return PAINTS[scale.form][scale.colour(level)]


def _painted(text: str, paint: Paint | None, colours: Colours) -> str:
    start = _start(paint, colours)
    return f"{start}{text}{_END}" if start else text


def _start(paint: Paint | None, colours: Colours) -> str:
    """The control code that begins a colour; empty for none."""
    if paint is None or colours == "none":
        return ""
    back, front = _code(paint.back, colours), _code(paint.front, colours)
    return f"\x1b[48;{back};38;{front}m"


def _code(colour: str, colours: Colours) -> str:
    parts = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
    if colours == "24bit":
        return "2;{};{};{}".format(*parts)
    red, green, blue = (
        min(range(6), key=lambda step, part=part: abs(_CUBE[step] - part))
        for part in parts
    )
    return f"5;{16 + 36 * red + 6 * green + blue}"
