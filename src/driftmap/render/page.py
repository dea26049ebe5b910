"""What is a report made of, before it is HTML or text?

Views build this tree from results; `html` and `text` write it. Tests compare the
text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from driftmap.render.charts import Chart

CalloutKind = Literal["verdict", "caution", "note"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Running text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Callout:
    """Text that must not be overlooked."""

    kind: CalloutKind
    title: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and values, such as settings."""

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
class Folded:
    """Detail that is shown on request."""

    summary: str
    nodes: Sequence["Node"]


Node: TypeAlias = Paragraph | Callout | Facts | Grid | Figure | Folded


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
    found: list[Figure] = []
    todo: list[Node] = [node for section in page.sections for node in section.nodes]
    while todo:
        node = todo.pop(0)
        if isinstance(node, Figure):
            found.append(node)
        elif isinstance(node, Folded):
            todo = [*node.nodes, *todo]
    return found
