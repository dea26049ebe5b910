"""Which attention heads are meant, and in which order do they matter?"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One query head.

    Args:
        layer: Number of its block, from 0.
        number: Its number within the block, from 0.

    >>> Head(layer=3, number=1).name
    'layer-3-head-1'
    """

    layer: int
    number: int

    @property
    def name(self) -> str:
        """As files of ranks call it."""
        return f"layer-{self.layer}-head-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedHead:
    """A head and how much it matters.

    Args:
        head: Which one.
        value: The higher, the more: the accuracy of a probe on it, say.
    """

    head: Head
    value: float
