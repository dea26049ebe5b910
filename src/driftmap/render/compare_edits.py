"""What did tuning do to what a model says of facts, on the page that compares two?"""

from driftmap.render.edit_numbers import answer_nodes, beside_nodes, edits_sections
from driftmap.render.page import Folded, Node, Section
from driftmap.results.edits import EditReport


def edits_section(report: EditReport) -> Section:
    """The same numbers as on the page of an edit, in one section."""
    nodes: list[Node] = answer_nodes(report)
    if not report.is_identical:
        nodes += beside_nodes(report)
        nodes += [
            Folded(summary=section.title, nodes=section.nodes)
            for section in edits_sections(report)[2:]
        ]
    return Section(anchor="edits", title="What both say of facts", nodes=nodes)
