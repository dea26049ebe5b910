"""What did tuning do to what a model says of facts, on the page that compares two?"""

from driftmap.render.page import Section
from driftmap.results.edits import EditReport


def edits_section(report: EditReport) -> Section:
    """The same numbers as on the page of an edit, in one section."""
    raise NotImplementedError
