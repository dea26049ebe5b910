"""What does a finished study of experts hold for whoever draws it?

Arrays are `[bank, expert]`, banks in model order; where a bank has fewer experts than
the largest, the rest is NaN in numbers and 0 in counts. A study may hold less than
everything: what was not measured is None or empty, and the page leaves it out.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from driftmap.core.places import BankPlace, ExpertPlace
from driftmap.results.expert_effects import ExpertEffects
from driftmap.results.expert_evidence import (
    Agreement,
    ExpertCounts,
    ExpertIntervals,
    ExpertTests,
    GroupShape,
    MatchedScores,
    SplitHalves,
)
from driftmap.results.expert_tuning import ExpertTuningLog, RouterLog
from driftmap.results.expert_usage import (
    CoActivation,
    ExpertDrift,
    RiskDifference,
    VocabularyUse,
)
from driftmap.results.expert_views import (
    Arm,
    ArmContrast,
    DomainRouting,
    RoutingMoved,
    Specialised,
    TokenView,
)
from driftmap.results.experts import ExpertGroup, ExpertMap
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertFacts:
    """How many experts the model has, and where.

    Args:
        banks: Banks that can be chosen from, in model order.
        scalars: Weights of one expert of each bank (count).
        num_layers: Blocks of the model; those that no bank names are dense (count).
        num_parameters: Weights of the whole model (count).
        num_shared: Experts that every token passes and that no router chooses (count).
        routing_law: How routers turn scores into a choice, in words; empty where it is
            not known.
    """

    banks: tuple[BankPlace, ...]
    scalars: tuple[int, ...]
    num_layers: int
    num_parameters: int
    num_shared: int = 0
    routing_law: str = ""

    @property
    def num_experts(self) -> int:
        """Experts of all banks."""
        return sum(bank.num_experts for bank in self.banks)

    @property
    def dense_layers(self) -> tuple[int, ...]:
        """Blocks without a bank, ascending."""
        held = {bank.layer for bank in self.banks}
        return tuple(n for n in range(self.num_layers) if n not in held)

    def row_of(self, expert: ExpertPlace) -> int:
        """The bank of an expert, as its place on the axis of banks."""
        return next(n for n, b in enumerate(self.banks) if b.path == expert.path)

    def num_weights(self, experts: tuple[ExpertPlace, ...]) -> int:
        """Weights of these experts together."""
        return sum(self.scalars[self.row_of(expert)] for expert in experts)


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemsKept:
    """What became of the items that were read.

    Args:
        num_read: Items of the file (count).
        num_judged_out: Left out because the attack did not work (count).
        num_dropped: Left out because they are too long (count).
        num_cut: Prompts that were cut from the left (count).
        num_train: Items that scores and training use (count).
        num_held_out: Items that outcomes are read on (count).
        num_benign: Ordinary samples, for contrast and for the price (count).
        is_in_sample: No item was left over: outcomes are read on the training items.
        safe_response: Where the wanted answers come from: `constant`, `dataset`,
            `file` or `own`.
        texts: What routing compares: `own` or `same`; empty where it was not.
    """

    num_read: int
    num_judged_out: int
    num_dropped: int
    num_cut: int
    num_train: int
    num_held_out: int
    num_benign: int = 0
    is_in_sample: bool = False
    safe_response: str = ""
    texts: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Identified:
    """What one method chose in one round, and all that it knows of each expert.

    Args:
        round: Number of the round, from 1.
        group: The chosen experts in rank order, and how they were chosen; its `method`
            names the method.
        score: What they were ranked by.
        routed_tokens: Tokens that each expert was sent; an expert without any is
            unvisited and never chosen.
        intervals: What resampled items say; None without resampling.
        halves: Whether other items would choose the same; None likewise.
        shape: Group against depth and traffic; None where not worked out.
        tests: Unsafe against contrast; None without a contrast.
        risk: Shares of unsafe and safe tokens; None where routing was not counted.
        maps: Other numbers by the column that holds them: other statistics,
            `contrast`, `token_share`, `gate_share`.
        matched: The group in numbers that did not choose it, beside matched random
            groups.
        batch_jaccard: Overlap of the groups of each two consecutive batches; empty
            where batches were not kept.
    """

    round: int
    group: ExpertGroup
    score: ExpertMap
    routed_tokens: ExpertCounts
    intervals: ExpertIntervals | None = None
    halves: SplitHalves | None = None
    shape: GroupShape | None = None
    tests: ExpertTests | None = None
    risk: RiskDifference | None = None
    maps: Mapping[str, ExpertMap] = field(default_factory=dict)
    matched: tuple[MatchedScores, ...] = ()
    batch_jaccard: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningRound:
    """What one round of tuning did.

    Args:
        round: Number of the round, from 1.
        method: The method that chose the experts.
        experts: Steps of the experts; None where they were left alone.
        routers: Steps of the routers; None likewise.
        unsafe_nats: Divergence of the routing of unsafe prompts from the reference,
            before and after aligning; None where routers were left alone.
        safe_nats: How far the routing of safe prompts moved from the reference, by
            the end of the round; None likewise.
    """

    round: int
    method: str
    experts: ExpertTuningLog | None = None
    routers: RouterLog | None = None
    unsafe_nats: tuple[float, ...] | None = None
    safe_nats: float | None = None


ExpertVerdictKind = Literal[
    "enough", "costly", "unpriced", "any experts", "not enough", "ranked",
    "inconclusive",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertVerdict:
    """The answer in words, from outcomes on held-out prompts.

    Args:
        kind: `enough`: tuning only the chosen experts makes the model refuse, more
            than tuning matched random ones, at a price within the margin; `costly`:
            the same, and the price is not shown to stay within it; `unpriced`: the
            same, and no price was read; `any experts`: refusal rises, and no more
            than with random ones; `not enough`: refusal is not shown to rise;
            `ranked`: nothing was tuned; `inconclusive`: these numbers cannot carry an
            answer.
        sentence: The same with its numbers.
        settles: What would settle or sharpen it; empty for nothing.
    """

    kind: ExpertVerdictKind
    sentence: str
    settles: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertFindings:
    """All that a run found out about experts.

    Args:
        model: The model as loaded.
        facts: Its experts.
        items: What became of the items.
        identified: Round by round, and in a round method by method; the first method
            is the one that the answer speaks of.
        verdict: The answer.
        cautions: What to keep in mind.
        agreement: Methods of the first round against each other; None for one.
        rounds: Tuning, round by round; empty where only identified.
        arms: Models side by side on the same held-out prompts, the untouched first.
        contrasts: Differences between them.
        effects: What taking experts away does; None where not tried.
        ablation_estimate: What one backward foresees of taking each expert away, in
            nats of refusal log-odds; None where not made.
        drift: By method, how far tuning moved the weights of each expert.
        moved: How far it moved routing.
        domains: Where kinds of text are sent, before and after.
        specialised: Whether they go to different experts; None where not worked out.
        company: Which experts of a bank are chosen together.
        vocabulary: How much single tokens decide which expert comes first.
        tokens: Where single tokens were sent; their texts only where allowed.
    """

    model: ModelIdentity
    facts: ExpertFacts
    items: ItemsKept
    identified: tuple[Identified, ...]
    verdict: ExpertVerdict
    cautions: tuple[Caution, ...] = ()
    agreement: Agreement | None = None
    rounds: tuple[TuningRound, ...] = ()
    arms: tuple[Arm, ...] = ()
    contrasts: tuple[ArmContrast, ...] = ()
    effects: ExpertEffects | None = None
    ablation_estimate: ExpertMap | None = None
    drift: Mapping[str, ExpertDrift] = field(default_factory=dict)
    moved: tuple[RoutingMoved, ...] = ()
    domains: tuple[DomainRouting, ...] = ()
    specialised: Specialised | None = None
    company: tuple[CoActivation, ...] = ()
    vocabulary: tuple[VocabularyUse, ...] = ()
    tokens: tuple[TokenView, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods in the order in which they were asked."""
        return tuple(dict.fromkeys(one.group.method for one in self.identified))

    def of_method(self, method: str) -> tuple[Identified, ...]:
        """What one method chose, round by round."""
        return tuple(one for one in self.identified if one.group.method == method)

    def union(self, method: str) -> tuple[ExpertPlace, ...]:
        """Experts that a method chose in any round, in order of first choice."""
        chosen = [e for one in self.of_method(method) for e in one.group.experts]
        return tuple(dict.fromkeys(chosen))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpertStudy:
    """All that a run says about experts, to be drawn.

    Args:
        settings: The resolved recipe, option -> value.
        versions: Package -> version of what made the run.
        findings: What it found out.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    findings: ExpertFindings
