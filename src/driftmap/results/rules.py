"""What are the rules called by which weights make a group?

Without numpy: the command line names them before anything heavy is loaded.
"""

from typing import Literal

Per = Literal["matrix", "row", "layer", "global"]
"""Among which weights a share is meant."""

DECLARED = "difference"
"""The group of the one test that is declared before training, where a run chose it."""

CONTROL_RULES = ("random", "matched")
"""Groups chosen this way are drawn, not declared: they stand for other weights."""

IMPORTED = "imported"
"""The rule of a group that another program chose."""
