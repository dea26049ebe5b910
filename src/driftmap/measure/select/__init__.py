"""Which weights belong to a behaviour, given a score for each of them?"""

from driftmap.measure.select.drawn import (
    MatchedMembers,
    Shortfall,
    matched,
    random_weights,
)
from driftmap.measure.select.members import Members, ScoreOf, top
from driftmap.measure.select.overlap import Overlap, overlap
from driftmap.measure.select.sets import difference

__all__ = [
    "MatchedMembers",
    "Members",
    "Overlap",
    "ScoreOf",
    "Shortfall",
    "difference",
    "matched",
    "overlap",
    "random_weights",
    "top",
]
