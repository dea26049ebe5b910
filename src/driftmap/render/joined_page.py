"""What do several reports say together, on one page?

The verdict of each stands first, in what is read in a minute. Below, each has
a section with its whole answer; its other sections are folded away inside it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from driftmap.render.page import (
    Callout,
    Figure,
    Folded,
    Node,
    Page,
    Paragraph,
    Picker,
    Row,
    Section,
    Terms,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One report among several.

    Args:
        name: Of the run, unique.
        command: Which command made it.
        report: Where the report lies, seen from the joint one.
        page: The report.
    """

    name: str
    command: str
    report: str
    page: Page


def joined_page(
    title: str, about: str, parts: Sequence[Part], missing: Sequence[str], source: str
) -> Page:
    """Build one page of several reports.

    Args:
        title: Of the whole.
        about: What is asked, and why.
        parts: The reports, in order.
        missing: Names of runs without a report.
        source: Whose parameters these are; empty for none.
    """
    return Page(
        title=title,
        lead=about,
        sections=[_summary(parts, missing, source), *map(_section, parts)],
        footer="Made by driftmap. Each run has a folder of its own beside this page, "
        "with its report, pictures and tables. `driftmap run FOLDER` does again what "
        "is missing.",
    )


def verdict_of(page: Page) -> Callout | None:
    """The callout that holds a report's verdict; None where it has none."""
    nodes = [node for section in page.sections for node in section.nodes]
    found = (n for n in nodes if isinstance(n, Callout) and n.kind == "verdict")
    return next(found, None)


def _summary(parts: Sequence[Part], missing: Sequence[str], source: str) -> Section:
    nodes: list[Node] = [
        Terms(pairs=[(one.page.title, _answer(one.page)) for one in parts])
    ]
    if missing:
        nodes.append(
            Callout(
                kind="caution",
                title="Not all runs are done",
                texts=[f"There is no report yet of: {', '.join(missing)}."],
            )
        )
    if source:
        nodes.append(Paragraph(text=f"Parameters: {source}"))
    return Section(anchor="summary", title="In short", nodes=nodes)


def _answer(page: Page) -> str:
    verdict = verdict_of(page)
    if verdict is None:
        return page.lead
    title = verdict.title.rstrip(".")
    says = " ".join(verdict.texts[:1])
    is_said = title.endswith("?") or says.startswith(title)
    return says if is_said else f"{title}. {says}".rstrip()


def _section(part: Part) -> Section:
    first, *others = part.page.sections
    return Section(
        anchor=part.name,
        title=part.page.title,
        nodes=[
            Paragraph(text=part.page.lead),
            *_renamed(part.name, first.nodes),
            *(
                Folded(
                    summary=section.title,
                    nodes=list(_renamed(part.name, section.nodes)),
                )
                for section in others
            ),
            Paragraph(
                text=f"Run `{part.name}`, made with `{part.command}`; the same as a "
                f"page of its own: `{part.report}`."
            ),
        ],
    )


def _renamed(prefix: str, nodes: Sequence[Node]) -> Iterator[Node]:
    """The same nodes; figures are called by their run as well, so that none clash."""
    for node in nodes:
        if isinstance(node, Figure | Picker):
            yield replace(node, name=f"{prefix}-{node.name}")
        elif isinstance(node, Row):
            figures = [replace(f, name=f"{prefix}-{f.name}") for f in node.figures]
            yield replace(node, figures=figures)
        elif isinstance(node, Folded):
            yield replace(node, nodes=list(_renamed(prefix, node.nodes)))
        else:
            yield node
