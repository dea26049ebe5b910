"""Which weights belong to a behaviour, given a score for each of them?

`members` takes the highest or the lowest, `picking` does so matrix by matrix, `stream`
over all matrices in bounded memory, `sets` tells behaviour from utility, `drawn` gives
the controls, `overlap` compares.
"""

from driftmap.measure.select.drawn import (
    MatchedMembers,
    Shortfall,
    matched,
    random_weights,
)
from driftmap.measure.select.members import lowest, n_of_m, top
from driftmap.measure.select.overlap import (
    Overlap,
    Shared,
    overlap,
    overlap_table,
    standing,
)
from driftmap.measure.select.picking import Picker
from driftmap.measure.select.ranked import Cut, Members, Ranked, ScoreOf
from driftmap.measure.select.sets import (
    GridCell,
    GridTally,
    difference,
    difference_grid,
)

__all__ = [
    "Cut",
    "GridCell",
    "GridTally",
    "MatchedMembers",
    "Members",
    "Overlap",
    "Picker",
    "Ranked",
    "ScoreOf",
    "Shared",
    "Shortfall",
    "difference",
    "difference_grid",
    "lowest",
    "matched",
    "n_of_m",
    "overlap",
    "overlap_table",
    "random_weights",
    "standing",
    "top",
]
