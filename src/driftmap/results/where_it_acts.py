"""In which layers, parts and tokens does what a model learned act?

Layers of one of two models stand in the other (is a layer needed, is it enough),
weights lie between both, states of one are put into the other's run, and traces of
both stand beside each other. All of these change something and watch the answer; what
is said of a layer is what happened there, not where another change would work best.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import TraceKind
from driftmap.results.traces import RoleEffects, TraceGrid

Behaviour = Literal["taught answers", "own words"]
"""What the two models are told apart by. `taught answers`: the new answer of each fact,
its foil, against the true one. `own words`: what the tuned model itself says to a
request against what the base says."""

SwapKind = Literal["layer", "half", "part", "window", "outside"]
"""`layer`: all of one block. `half`: its attention or its MLP, each with its norms.
`part`: one part, such as q, of all blocks. `window`: neighbouring blocks together.
`outside`: embeddings, final norm or head."""

CrossDirection = Literal["tuned into base", "base into tuned"]
"""Whose states are put into whose run."""

WhichAnswer = Literal["old", "new"]
"""The true answer, or what the base says; the taught one, or what the tuned says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapShare:
    """What happens to the new behaviour when one place is the other model's.

    Args:
        kind: What kind of place.
        name: The place, as a person reads it: `layer 3`, `layer 3 mlp`, `v`,
            `layers 2-3`, `embed`.
        layers: Blocks in it, from 0; empty outside blocks.
        changed: Its weights differ between the two; where they do not, all shares
            are 0 and nothing was run.
        needed: Share of the behaviour that is lost with the base's place in the tuned
            model, `(NLL_swapped - NLL_tuned) / (NLL_base - NLL_tuned)`. None where no
            share is formed.
        enough: Share that comes with the tuned place in the base,
            `(NLL_base - NLL_swapped) / (NLL_base - NLL_tuned)`.
        needed_corrected: `needed` with the wider interval that holds for all places of
            this kind at once (Bonferroni).
        enough_corrected: `enough` likewise.
    """

    kind: SwapKind
    name: str
    layers: tuple[int, ...]
    changed: bool
    needed: Interval | None
    enough: Interval | None
    needed_corrected: Interval | None = None
    enough_corrected: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MixPoint:
    """The model with weights `base + a (tuned - base)`.

    Args:
        share: a.
        nll_new: Mean NLL per token of the new behaviour (nats).
        nll_old: Mean NLL per token of the old one (nats).
        neighbourhood: Share of prompts about other subjects with the same true answer
            where it stays likelier than the new one; None where there are none.
    """

    share: float
    nll_new: Interval
    nll_old: Interval
    neighbourhood: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CrossTrace:
    """States of one model put into the other's run, place by place, without noise.

    Args:
        direction: Whose states go into whose run.
        answer: Whose probability is read: the new one where tuned states are put in,
            the old one where the base's are.
        effects: Averages by role of the token, one for each kind of state; their
            `low` is the run that receives, `high` the one that gives.
        example: Grids of the first probe, one for each kind.
    """

    direction: CrossDirection
    answer: WhichAnswer
    effects: tuple[RoleEffects, ...]
    example: tuple[TraceGrid, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceChange:
    """One kind of state traced for one answer, before and after tuning.

    Args:
        answer: Whose probability is read.
        before: Averages on the base.
        after: The same of the tuned model.
        difference: After minus before, fact by fact.
        example_before: The first fact's grid on the base.
        example_after: The same of the tuned model.
    """

    answer: WhichAnswer
    before: RoleEffects
    after: RoleEffects
    difference: RoleEffects
    example_before: TraceGrid
    example_after: TraceGrid

    @property
    def kind(self) -> TraceKind:
        """What was put back."""
        return self.before.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileShift:
    """Are the same layers used for the new answer after as for the old one before?

    Args:
        kind: What was put back.
        likeness: Pearson correlation, layer by layer at the last subject token, of the
            base's profile for the old answer with the tuned model's for the new one;
            mean over facts.
        ceiling: The base's profile for the old answer with itself under other noise:
            what no change at all gives. None where too few facts have one.
        below_ceiling: `ceiling - likeness`, fact by fact; None likewise.
        num_refused: Facts without a profile: too small a total effect (count).
    """

    kind: TraceKind
    likeness: Interval
    ceiling: Interval | None
    below_ceiling: Interval | None
    num_refused: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WhereItActs:
    """Where the difference between two models acts.

    Args:
        identical: Nothing differs between the weights of the two; the rest is empty.
        behaviour: What the two are told apart by.
        num_layers: Blocks (count).
        num_asked: Probes that were asked (count).
        num_same: Probes of `own words` to which both say the same; no share is formed
            of these (count).
        left_out: Why other probes were not asked -> how many.
        nll_base: Mean NLL per token of the new behaviour in the base (nats); None
            where nothing was asked.
        nll_tuned: The same in the tuned model.
        gap: `NLL_base - NLL_tuned`, probe by probe.
        shares_formed: The gap is large and sure enough to divide by.
        swaps: All places that were exchanged.
        sum_needed: Sum of `needed` over single layers; None where no share is formed.
        sum_enough: Sum of `enough` over them.
        curve: Interpolation, by ascending share.
        crosses: Both directions of the cross trace; empty where no probe allows it.
        num_crossed: Probes behind them (count).
        traces: Before and after; empty where no fact allows it.
        num_traced: Facts behind them (count).
        shifts: Of profiles, one for each kind.
        span: What role names call the subject: `subject`, or `request`.
        refused: Why nothing could be exchanged; empty where it could. The rest is
            empty then.
    """

    identical: bool
    behaviour: Behaviour
    num_layers: int
    num_asked: int = 0
    num_same: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    nll_base: Interval | None = None
    nll_tuned: Interval | None = None
    gap: Interval | None = None
    shares_formed: bool = False
    swaps: tuple[SwapShare, ...] = ()
    sum_needed: float | None = None
    sum_enough: float | None = None
    curve: tuple[MixPoint, ...] = ()
    crosses: tuple[CrossTrace, ...] = ()
    num_crossed: int = 0
    traces: tuple[TraceChange, ...] = ()
    num_traced: int = 0
    shifts: tuple[ProfileShift, ...] = ()
    span: Literal["subject", "request"] = "subject"
    refused: str = ""

    def of_kind(self, kind: SwapKind) -> tuple[SwapShare, ...]:
        """Places of one kind, in order."""
        return tuple(swap for swap in self.swaps if swap.kind == kind)
