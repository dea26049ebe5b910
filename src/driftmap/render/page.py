"""What is a report made of, before it is HTML or text?

Views build this tree from results; `html` and `text` write it. Tests compare the
text. Words between backticks in any text are names, such as those of groups and
files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from driftmap.render.charts import Chart
from driftmap.render.coloured import ColouredTexts

CalloutKind = Literal["verdict", "blocking", "caution", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Callout:
    """Text that must not be overlooked; several texts become points."""

    kind: CalloutKind
    title: str
    texts: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and short values, such as settings."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Words and what they mean, a sentence or two each."""

    pairs: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A small table, cells already written for a person.

    `align_right` holds the numbers of the columns that hold figures.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    align_right: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart with what it shows and how to read it.

    `name` is the file name of its picture without ending.
    """

    name: str
    title: str
    reading: str
    chart: Chart


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Figures beside each other where the page is wide enough."""

    figures: Sequence[Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Somebody's text, shown as it is: nothing in it is read as a mark.

    `title` says whose it is, `note` what is known of it.
    """

    title: str
    note: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Texts beside each other where the page is wide enough."""

    caption: str
    sides: Sequence[Side]


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A piece of somebody's text; nothing in it is read as a mark.

    `value` of 0 to 1 is how strongly it is shaded, `note` what that means.
    """

    text: str
    value: float
    note: str
    is_marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaded:
    """A text whose pieces are shaded; marked ones are underlined."""

    title: str
    note: str
    words: Sequence[Word]


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """Detail that is shown on request."""

    summary: str
    nodes: Sequence["Node"]


Node: TypeAlias = (
    Paragraph
    | Callout
    | Facts
    | Terms
    | Grid
    | Figure
    | Row
    | Beside
    | Shaded
    | ColouredTexts
    | Folded
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of the page with a heading; `anchor` is its address on the page."""

    anchor: str
    title: str
    nodes: Sequence[Node]


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """A whole report."""

    title: str
    lead: str
    sections: Sequence[Section]
    footer: str


def figures_of(page: Page) -> list[Figure]:
    """All figures of a page, in order, also the folded ones."""
    return [f for section in page.sections for n in section.nodes for f in _figures(n)]


def _figures(node: Node) -> Iterator[Figure]:
    if isinstance(node, Figure):
        yield node
    elif isinstance(node, Row):
        yield from node.figures
    elif isinstance(node, Folded):
        for child in node.nodes:
            yield from _figures(child)
