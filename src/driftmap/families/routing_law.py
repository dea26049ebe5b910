"""By which rule does a router choose experts and weight what they answer?

From what went in and came out: score `a(z)` of the logits z; choice = the K largest
of `a(z) + b`, b a bias that changes the choice and never a weight, among the experts
of the kept groups; weight = `a(z)` of the chosen, divided by their sum or not, times a
scale. The law is fitted on one batch and accepted on another (Wang et al. 2024 and
DeepSeek-V3 for b and the groups). Without it, experts can be taken away but not
routed around.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from driftmap.core.errors import FamilyError

Score = Literal["softmax", "sigmoid", "identity", "sqrt_softplus"]
GroupScore = Literal["top_two", "maximum"]

TOLERANCE = 2e-3
"""Largest difference of a weight, against the largest weight there is."""

_SCORES: Mapping[Score, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: torch.softmax(z, dim=-1),
    "sigmoid": torch.sigmoid,
    "identity": lambda z: z,
    "sqrt_softplus": lambda z: torch.nn.functional.softplus(z).sqrt(),
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeenRouting:
    """What a bank's router gave for some tokens.

    Args:
        logits: Before any choice; one more column for every choice that stands for
            doing nothing.
        chosen: Experts that the bank was told to use, in the router's own order.
        weights: What each chosen expert's answer is multiplied by.
        bias: What is added to the scores for the choice; None where nothing is.
        expert_scale: What multiplies each expert's weight after the choice.
    """

    logits: Float[Tensor, "token expert"]
    chosen: Int[Tensor, "token slot"]
    weights: Float[Tensor, "token slot"]
    bias: Float[Tensor, " expert"] | None = None
    expert_scale: Float[Tensor, " expert"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """Which experts each token gets, and with what weight.

    Args:
        indices: The chosen, the first choice first.
        weights: What each one's answer is multiplied by.
    """

    indices: Int[Tensor, "token slot"]
    weights: Float[Tensor, "token slot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingLaw:
    """The rule of one router.

    Args:
        score: What is made of the logits; the weights are taken from it.
        ranking: What is made of the logits to choose, before any bias is added.
        renormalised: Weights of a token are divided by their sum.
        scale: What all weights are multiplied by.
        num_chosen: Experts per token (count).
        biased: The choice adds the selection bias.
        num_groups: Groups of neighbouring experts; 1 for none (count).
        num_kept_groups: Groups that experts are chosen from (count).
        group_score: What ranks a group: its two best experts' sum, or its best.
    """

    score: Score
    ranking: Score
    renormalised: bool
    scale: float
    num_chosen: int
    biased: bool = False
    num_groups: int = 1
    num_kept_groups: int = 1
    group_score: GroupScore = "top_two"

    @property
    def in_words(self) -> str:
        """The rule as a sentence's end.

        >>> RoutingLaw(
        ...     score="softmax", ranking="softmax", renormalised=True, scale=1.0,
        ...     num_chosen=2,
        ... ).in_words
        'the 2 largest softmax values, made to sum to 1'
        """
        said = [f"the {self.num_chosen} largest {self.ranking} values"]
        if self.biased:
            said.append("with a bias for the choice alone")
        if self.num_kept_groups < self.num_groups:
            said.append(
                f"of the best {self.num_kept_groups} of {self.num_groups} groups"
            )
        if self.score != self.ranking:
            said.append(f"weighted by {self.score}")
        if self.renormalised:
            said.append("made to sum to 1")
        if self.scale != 1:
            said.append(f"times {self.scale:g}")
        return ", ".join(said)

    def selection(
        self,
        logits: Float[Tensor, "token expert"],
        bias: Float[Tensor, " expert"] | None = None,
    ) -> Float[Tensor, "token expert"]:
        """What experts are ranked by; those of groups left out are at -inf.

        Args:
            logits: From the router.
            bias: Its selection bias; unused unless the law is `biased`.
        """
        ranked = _SCORES[self.ranking](logits.float())
        if self.biased:
            assert bias is not None, "the law adds a bias that was not given"
            ranked = ranked + bias.float()
        if self.num_kept_groups == self.num_groups:
            return ranked
        grouped = ranked.unflatten(-1, (self.num_groups, -1))
        best = 2 if self.group_score == "top_two" else 1
        totals = grouped.topk(min(best, grouped.shape[-1]), dim=-1).values.sum(-1)
        kept = torch.zeros_like(totals, dtype=torch.bool)
        kept.scatter_(-1, totals.topk(self.num_kept_groups, dim=-1).indices, True)
        return grouped.masked_fill(~kept[..., None], -torch.inf).flatten(-2)

    def weights(
        self,
        logits: Float[Tensor, "token expert"],
        indices: Int[Tensor, "token slot"],
        expert_scale: Float[Tensor, " expert"] | None = None,
    ) -> Float[Tensor, "token slot"]:
        """What the chosen experts' answers are multiplied by.

        Args:
            logits: From the router.
            indices: The chosen.
            expert_scale: What multiplies each expert's weight, if anything.
        """
        scores = _SCORES[self.score](logits.float()).gather(-1, indices)
        if self.renormalised:
            scores = scores / scores.sum(-1, keepdim=True)
        if expert_scale is not None:
            scores = scores * expert_scale.float()[indices]
        return scores * self.scale

    def choose(
        self,
        logits: Float[Tensor, "token expert"],
        bias: Float[Tensor, " expert"] | None = None,
        expert_scale: Float[Tensor, " expert"] | None = None,
    ) -> Choice:
        """Choose experts as the router does.

        Args:
            logits: From the router.
            bias: Its selection bias.
            expert_scale: What multiplies each expert's weight.

        >>> law = RoutingLaw(
        ...     score="softmax",
        ...     ranking="softmax",
        ...     renormalised=True,
        ...     scale=1.0,
        ...     num_chosen=1,
        ... )
        >>> law.choose(torch.tensor([[1.0, 3.0, 2.0]])).indices
        tensor([[1]])
        """
        indices = self.selection(logits, bias).topk(self.num_chosen, dim=-1).indices
        return Choice(
            indices=indices, weights=self.weights(logits, indices, expert_scale)
        )


def fit_law(
    path: str, first: SeenRouting, second: SeenRouting, groups: tuple[int, int] = (1, 1)
) -> RoutingLaw:
    """Fit the law of a router on one batch and accept it on another.

    Args:
        path: The bank's path, for messages.
        first: What the law is fitted on.
        second: Other tokens, on which it must hold.
        groups: Groups of experts, and how many of them are kept (counts).

    Raises:
        FamilyError: No law of this kind gives the router's weights or its choices.
    """
    law = min(_weightings(first), key=lambda one: _weight_error(one, first))
    law = max(_choices(law, first, groups), key=lambda one: _agreement(one, first))
    error = _weight_error(law, second)
    if not error <= TOLERANCE:
        raise FamilyError(
            f"{path}: no known rule gives the weights of its router (off by "
            f"{error:.2g} of the largest), so experts cannot be routed around; give "
            "their answers the weight 0 instead"
        )
    agreement = _agreement(law, second)
    if agreement < 1:
        raise FamilyError(
            f"{path}: no known rule gives the choices of its router (right for "
            f"{agreement:.1%} of tokens), so experts cannot be routed around; give "
            "their answers the weight 0 instead"
        )
    return law


def _weightings(seen: SeenRouting) -> Iterator[RoutingLaw]:
    for score in _SCORES:
        for renormalised in (True, False):
            law = RoutingLaw(
                score=score,
                ranking=score,
                renormalised=renormalised,
                scale=1.0,
                num_chosen=seen.chosen.shape[1],
            )
            plain = law.weights(seen.logits, seen.chosen, seen.expert_scale)
            largest = plain.abs() >= plain.abs().max() / 2
            ratios = (seen.weights.float() / plain)[largest]
            yield replace(law, scale=float(f"{ratios.median().item():.5g}"))


def _choices(
    law: RoutingLaw, seen: SeenRouting, groups: tuple[int, int]
) -> Iterator[RoutingLaw]:
    """The same weights by every way to choose, what the router has used first."""
    biases = (False,) if seen.bias is None else (True, False)
    grouped: list[GroupScore | None] = [None]
    if groups[1] < groups[0]:
        grouped = ["top_two", "maximum", None]
    rankings: tuple[Score, ...] = (law.score, "identity")
    for biased, group_score, ranking in product(biases, grouped, rankings):
        chosen = replace(law, biased=biased, ranking=ranking)
        if group_score is not None:
            chosen = replace(
                chosen,
                num_groups=groups[0],
                num_kept_groups=groups[1],
                group_score=group_score,
            )
        yield chosen


def _weight_error(law: RoutingLaw, seen: SeenRouting) -> float:
    """Largest difference of a weight, against the largest; inf where one is NaN."""
    made = law.weights(seen.logits, seen.chosen, seen.expert_scale)
    weights = seen.weights.float()
    error = ((made - weights).abs().max() / weights.abs().max()).item()
    return torch.inf if math.isnan(error) else error


def _agreement(law: RoutingLaw, seen: SeenRouting) -> float:
    """Share of tokens that get the same experts."""
    made = law.choose(seen.logits, seen.bias, seen.expert_scale).indices
    same: Bool[Tensor, " token"] = (
        made.sort(dim=-1).values == seen.chosen.sort(dim=-1).values
    ).all(dim=-1)
    return same.float().mean().item()
