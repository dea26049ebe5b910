"""In which layers, parts and tokens does the change act?"""

from driftmap.render.page import Node, Paragraph, Section
from driftmap.render.trace_words import EDITING
from driftmap.results.where_it_acts import WhereItActs


def where_section(found: WhereItActs) -> Section:
    """Draw where the change acts.

    Args:
        found: What was exchanged, mixed and traced.
    """
    nodes: list[Node] = [Paragraph(text=EDITING)]
    return Section(anchor="where", title="Where the change acts", nodes=nodes)
