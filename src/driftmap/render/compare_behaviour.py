"""How is behaviour before and after shown?"""

from driftmap.render.page import Section
from driftmap.results.behaviour_change import BehaviourChange


def behaviour_section(found: BehaviourChange) -> Section:
    """The page's section on it."""
    raise NotImplementedError
