"""What does a finished run of causal tracing hold for whoever draws it?

A run may hold less than everything: one fact has no averages, and what was not measured
is None or empty. The page leaves it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Float64, Int64

from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution, Interval
from driftmap.results.trace_kinds import Noise, Outcome, TraceKind, TraceMethod
from driftmap.results.traces import RoleEffects, TraceGrid


@dataclass(frozen=True, slots=True, kw_only=True)
class FactCounts:
    """What became of the facts that were read.

    Args:
        num_read: Facts of the file, or those that `--num-facts` let in (count).
        num_known: Facts whose answer is the model's first choice (count); with no
            answers given, every fact is taken as the model answers it.
        num_unknown: Facts that the model answers otherwise; they are left out of all
            averages (count).
        num_averaged: Facts behind the averages (count).
        num_subjects: Different subjects among them (count).
        num_one_token: Averaged facts whose subject is a single token (count).
        left_out: Why other facts could not be traced -> how many.
    """

    num_read: int
    num_known: int
    num_unknown: int
    num_averaged: int
    num_subjects: int
    num_one_token: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactOutcome:
    """What the corruption did to one fact.

    Args:
        id: Of the fact.
        subject: Its words; empty where texts are not kept.
        answer: What the outcome is about.
        choice: The model's own first choice.
        high: Outcome of the clean run.
        low: Mean outcome of the corrupted run.
        is_known: The choice is the answer; None where no answer is given.
        peak_layer: Layer in which the hidden state of the last subject token brings
            back most, from 0; None where hidden states were not traced.
        peak_effect: How much it brings back there; None likewise.
        control: Lost to the same noise on an equally long span outside the subject;
            None where it was not tried, or no such span is in the prompt.
    """

    id: str
    subject: str
    answer: str
    choice: str
    high: float
    low: float
    is_known: bool | None
    peak_layer: int | None = None
    peak_effect: float | None = None
    control: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LensView:
    """What the model's own head reads from each block's output of one prompt.

    Args:
        tokens: Text of each token of the prompt.
        answer: Whose probability is read (its first token).
        foil: The wrong answer beside it; None without.
        probability: Of the answer after each block.
        rank: Tokens that are strictly more likely; 0 is the first choice.
        entropy_nats: Of the distribution.
        kl_nats: Divergence from it of what the model says in the end.
        foil_probability: Of the foil; None without.
    """

    tokens: tuple[str, ...]
    answer: str
    foil: str | None
    probability: Float64[np.ndarray, "token layer"]
    rank: Int64[np.ndarray, "token layer"]
    entropy_nats: Float64[np.ndarray, "token layer"]
    kl_nats: Float64[np.ndarray, "token layer"]
    foil_probability: Float64[np.ndarray, "token layer"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LensLayer:
    """What the head reads from one block at the last token of the prompt, over facts.

    Args:
        layer: Number of the block, from 0.
        probability: Mean probability of the answer, with its interval over subjects.
        first_choice: Share of facts whose answer is the most likely token.
        foil_probability: Mean probability of the foil; None without foils.
    """

    layer: int
    probability: Interval
    first_choice: Interval
    foil_probability: Interval | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactPlace:
    """One cell that an estimate points to, traced exactly.

    Args:
        kind: What was put back.
        token: Where.
        layer: Number of the block, from 0.
        estimate: The estimated outcome.
        exact: The traced outcome.
    """

    kind: TraceKind
    token: int
    layer: int
    estimate: float
    exact: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TracedFact:
    """One fact, shown cell by cell.

    Args:
        id: Of the fact.
        prompt: Its text; the same as `tokens` put together.
        subject: The subject's words.
        grids: By kind. Severed ones hold NaN in rows of tokens that were not traced.
        lens: What the head reads after each block; None where not read.
        places: Cells that an estimate points to, traced exactly.
    """

    id: str
    prompt: str
    subject: str
    grids: tuple[TraceGrid, ...]
    lens: LensView | None = None
    places: tuple[ExactPlace, ...] = ()

    def of_kind(self, kind: TraceKind) -> TraceGrid | None:
        """The grid of one kind; None where it was not traced."""
        return next((grid for grid in self.grids if grid.kind == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateCheck:
    """How well estimated cells agree with exact ones, on facts that have both.

    Args:
        kind: What was put back.
        method: The estimate.
        pearson: Mean correlation of a fact's cells over facts.
        spearman: The same of ranks.
        top_overlap: Share of a fact's exact `num_top` largest cells that the estimate
            finds among its own.
        num_top: Cells that are compared (count).
    """

    kind: TraceKind
    method: TraceMethod
    pearson: Interval
    spearman: Interval
    top_overlap: Interval
    num_top: int = 5


TraceVerdictKind = Literal[
    "subject site", "other subject token", "no single site", "no effect", "one fact",
    "inconclusive",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceVerdict:
    """The answer in words.

    Args:
        kind: `subject site`: one state at the last subject token brings back a share of
            the answer, and more than at any other token of the subject; `other subject
            token`: another token of the subject brings back more; `no single site`: no
            single state of the subject brings back a tenth of what was lost; `no
            effect`: disturbing the subject is not shown to cost the answer anything;
            `one fact`: there is nothing to average; `inconclusive`: these numbers
            cannot carry an answer.
        sentence: The same with its numbers.
        settles: What would settle or sharpen it; empty for nothing.
    """

    kind: TraceVerdictKind
    sentence: str
    settles: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceFindings:
    """All that a run found out about where facts are read.

    Args:
        model: The model as loaded.
        num_layers: Blocks of the model (count).
        counts: What became of the facts.
        outcome: What is read of the answer.
        noise: What was done to subjects.
        noise_source: Where its level comes from, in words (`3 x the standard deviation
            of the embeddings of all subjects of the file`).
        verdict: The answer.
        cautions: What to keep in mind.
        effects: Averages by role, one for each kind, severed kinds too (those hold the
            role `last subject`); empty where one fact was traced.
        facts: What the corruption did to each fact, in the order of the file.
        shown: Facts that are shown cell by cell; the first is the example.
        lens: What the head reads at the last token of prompts, by layer, over facts;
            empty where not read.
        checks: Estimates beside exact cells; empty where nothing was estimated.
        answer_source: `given`: by the file or the user; `top1`: the model's own first
            choice.
    """

    model: ModelIdentity
    num_layers: int
    counts: FactCounts
    outcome: Outcome
    noise: Noise
    noise_source: str
    verdict: TraceVerdict
    cautions: tuple[Caution, ...] = ()
    effects: tuple[RoleEffects, ...] = ()
    facts: tuple[FactOutcome, ...] = ()
    shown: tuple[TracedFact, ...] = ()
    lens: tuple[LensLayer, ...] = ()
    checks: tuple[EstimateCheck, ...] = ()
    answer_source: Literal["given", "top1"] = "given"

    def of_kind(self, kind: TraceKind) -> RoleEffects | None:
        """The averages of one kind; None where it was not traced."""
        return next((one for one in self.effects if one.kind == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceStudy:
    """All that a run of causal tracing says, to be drawn.

    Args:
        settings: The resolved recipe, option -> value.
        versions: Package -> version of what made the run.
        findings: What it found out.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    findings: TraceFindings
