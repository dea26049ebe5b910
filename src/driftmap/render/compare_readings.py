"""How is readings before and after shown?"""

from driftmap.render.page import Section
from driftmap.results.readings_change import ReadingsChange


def readings_section(found: ReadingsChange) -> Section:
    """The page's section on it."""
    raise NotImplementedError
