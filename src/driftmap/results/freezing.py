"""What was kept from moving in a training run, how, and how much of it could move?"""

from dataclasses import dataclass
from typing import Literal

FreezingWay = Literal["element", "rows", "columns", "rewind"]
"""How weights are kept: each alone, with their whole row of B, with their whole column
of A, or put back after free training."""

FREEZING_FILE = "freezing.json"
"""Where a run keeps what was frozen, how, and how much of it could move."""

FREEZING_KIND = "driftmap.freezing"

MASKED_WEIGHTS = "masked_adapter.safetensors"
"""Factors with the entries that they leave alone: no plain adapter, so not its name."""

MASKED_CONFIG = "masked_adapter_config.json"
"""Rank and scale of the factors, in PEFT's words."""

FROZEN_PREFIX = "frozen."
"""Before a module's path: its frozen entries in `masked_adapter.safetensors`."""

MASKED_README = """\
This is no plain LoRA adapter: its factors do not count at the entries listed under
`frozen.` in `masked_adapter.safetensors`, so PEFT cannot load it. `driftmap` reads it,
and `driftmap drift --merged` writes the whole model.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freezing:
    """What a training run kept as it was.

    Args:
        group: Name of the group, or of the file it was read from.
        way: How it was kept.
        share: Which part of the group was kept, 0 to 1.
        num_weights: Weights that were kept.
        num_mobile: Those among them that lie in matrices which training moves; the
            others would not have moved anyway.
        num_blocked: Further weights that could not move because they share a row of B
            or a column of A with one that was kept.
        num_tuned: Weights of all matrices that training moves.
    """

    group: str
    way: FreezingWay
    share: float
    num_weights: int
    num_mobile: int
    num_blocked: int
    num_tuned: int

    @property
    def mobile_share(self) -> float:
        """Part of the kept weights that training would have moved; 0 for none."""
        return self.num_mobile / self.num_weights if self.num_weights else 0.0

    @property
    def still_share(self) -> float:
        """Part of all tuned weights that could not move; 0 where none is tuned."""
        still = self.num_mobile + self.num_blocked
        return still / self.num_tuned if self.num_tuned else 0.0
