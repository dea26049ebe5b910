"""What is a report made of, before it is HTML or text?

Views build this tree from results; `html` and `text` write it. Tests compare the
text. Words between backticks in any text are names, such as those of groups and
files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, TypeAlias

from driftmap.render.charts import Chart
from driftmap.render.coloured import ColouredTexts
from driftmap.render.columns import Columns, Listing

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
class Choices:
    """One thing to choose, such as a layer, and what there is of it; 1 or more."""

    name: str
    options: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picker:
    """One of several charts, chosen on the page.

    The text and the picture hold the chart that is shown first: a picture of each of a
    thousand heads would help nobody.

    Args:
        name: File name of the picture without ending.
        title: What the charts show.
        reading: How to read them.
        choices: What is chosen from, such as layers and heads.
        charts: One for each combination of options; those of the last choice lie next
            to each other.
        notes: A sentence about each chart; empty for none.
        first: Number of the chart that is shown first.
    """

    name: str
    title: str
    reading: str
    choices: Sequence[Choices]
    charts: Sequence[Chart]
    notes: Sequence[str] = ()
    first: int = 0

    def __post_init__(self) -> None:
        """There is one chart for each combination."""
        num = prod(len(one.options) for one in self.choices)
        assert len(self.charts) == num, f"{len(self.charts)} charts for {num} choices"
        assert len(self.notes) in (0, num), f"{len(self.notes)} notes for {num} choices"

    def chosen(self) -> list[int]:
        """The option of each choice that is shown first."""
        left, chosen = self.first, []
        for one in reversed(self.choices):
            left, option = divmod(left, len(one.options))
            chosen.append(option)
        return chosen[::-1]

    def shown_first(self) -> Figure:
        """The chart that is shown first, as a figure that says which it is."""
        which = ", ".join(
            f"{one.name} {one.options[option]}"
            for one, option in zip(self.choices, self.chosen(), strict=True)
        )
        note = f"{self.notes[self.first]} " if self.notes else ""
        return Figure(
            name=self.name,
            title=f"{self.title} ({which})",
            reading=f"{note}{self.reading}",
            chart=self.charts[self.first],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Figures beside each other where the page is wide enough."""

    figures: Sequence[Figure]


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
class Side:
    """Somebody's text, shown as it is: nothing in it is read as a mark.

    `title` says whose it is, `note` what is known of it. Where `words` are given they
    are shown for the text that they make up: marked ones are underlined.
    """

    title: str
    note: str
    text: str
    words: Sequence[Word] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """Texts beside each other where the page is wide enough."""

    caption: str
    sides: Sequence[Side]


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
    | Picker
    | Row
    | Beside
    | Shaded
    | ColouredTexts
    | Listing
    | Columns
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
    """All figures of a page, in order, also the folded ones; of a picker the first."""
    return [
        one.shown_first() if isinstance(one, Picker) else one for one in charted(page)
    ]


def charted(page: Page) -> list[Figure | Picker]:
    """All nodes of a page that hold charts, in order."""
    return [f for section in page.sections for n in section.nodes for f in _figures(n)]


def _figures(node: Node) -> Iterator[Figure | Picker]:
    if isinstance(node, Figure | Picker):
        yield node
    elif isinstance(node, Row):
        yield from node.figures
    elif isinstance(node, Folded):
        for child in node.nodes:
            yield from _figures(child)
