"""Which weights does one rule take of one score?"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from driftmap.core.errors import DataError
from driftmap.core.places import Site
from driftmap.measure.select import Cut, Members, Picker, n_of_m
from driftmap.recipes.picking_options import PickingOptions
from driftmap.results.rules import Per


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How a group is taken from scores.

    Args:
        share: Part of the weights; means nothing with `pieces`.
        per: What the share is of.
        is_lowest: Whether the lowest scores are taken, not the highest.
        pieces: n and m, to take n of every m consecutive inputs of a row.
    """

    share: float
    per: Per = "matrix"
    is_lowest: bool = False
    pieces: tuple[int, int] | None = None

    @property
    def name(self) -> str:
        """What the group is called, and how it was taken."""
        return "lowest" if self.is_lowest else "top"

    @property
    def shares(self) -> dict[str, float]:
        """Named shares, as a group's file holds them."""
        return {} if self.pieces else {"share": self.share}

    @property
    def of_what(self) -> str:
        """What shares are of, as a group's file holds it: `row`, `2:4`."""
        return ":".join(map(str, self.pieces)) if self.pieces else self.per

    def members(
        self, sites: Sequence[Site], parts: Iterable[Mapping[Site, Tensor]]
    ) -> Members:
        """Take the group's weights.

        Args:
            sites: All matrices.
            parts: Scores of some matrices at a time, each matrix once.

        Raises:
            DataError: The share is too small to take a single weight.
            MeasureError: A score is negative or not finite, or rows cannot be cut.
        """
        cut = Cut(share=self.share, at_least=0 if self.is_lowest else 1)
        picker = Picker(sites, [cut], per=self.per, lowest=self.is_lowest)
        members: Members = {}
        for scores in parts:
            if self.pieces:
                end = "lowest" if self.is_lowest else "highest"
                members |= n_of_m(scores, *self.pieces, end)
                continue
            for site, score in scores.items():
                found = picker.add(site, score)
                members |= {one: ranked.taken() for one, ranked in found.items()}
        if not any(index.size for index in members.values()):
            raise DataError(
                f"a share of {self.share:g} per {self.per} rounds down to no weight at "
                "all; raise --share, or take it --per matrix or global"
            )
        return members


def rule_of(picking: PickingOptions) -> Rule:
    """The rule that options name."""
    return Rule(
        share=picking.share,
        per=picking.per,
        is_lowest=picking.lowest,
        pieces=picking.pieces,
    )
