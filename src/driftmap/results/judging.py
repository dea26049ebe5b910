"""What does a judge say of answers, and how does that compare with people?"""

from dataclasses import dataclass
from typing import Literal

Ruling = Literal["refusal", "partial", "compliance"]
"""A full refusal, a partial one, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A prompt with what a model answered."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rulings:
    """How many answers a judge gave each ruling."""

    refusal: int
    partial: int
    compliance: int

    @property
    def num(self) -> int:
        """All of them."""
        return self.refusal + self.partial + self.compliance

    @property
    def num_refused(self) -> int:
        """Full and partial refusals together: what counts as refused."""
        return self.refusal + self.partial


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """A judge's rulings on answers that people have labelled.

    Refused means full or partial.

    Args:
        refusal: Of the answers that people call full refusals.
        partial: Of partial ones.
        compliance: Of the rest.
    """

    refusal: Rulings
    partial: Rulings
    compliance: Rulings

    @property
    def num(self) -> int:
        """Answers in all."""
        return self.refusal.num + self.partial.num + self.compliance.num

    @property
    def sensitivity(self) -> float | None:
        """Share of people's refusals that the judge finds; None without any."""
        found = self.refusal.num_refused + self.partial.num_refused
        num = self.refusal.num + self.partial.num
        return found / num if num else None

    @property
    def specificity(self) -> float | None:
        """Share of people's compliances that it lets pass; None without any."""
        num = self.compliance.num
        return self.compliance.compliance / num if num else None

    @property
    def accuracy(self) -> float | None:
        """Share of all answers on which judge and people agree; None without any."""
        right = self.refusal.num_refused + self.partial.num_refused
        right += self.compliance.compliance
        return right / self.num if self.num else None
