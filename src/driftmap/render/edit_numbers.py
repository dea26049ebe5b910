"""What did tuning on facts do to what a model says of them, in numbers?"""

from driftmap.render.page import Section
from driftmap.results.edits import EditReport


def edits_sections(report: EditReport) -> tuple[Section, ...]:
    """Show every measure before and after, and what is not available.

    The first section holds the answer; where the two models are identical it says so
    and is the only one.
    """
    raise NotImplementedError
