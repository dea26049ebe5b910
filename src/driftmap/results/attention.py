"""What does a model look at when it answers, layer by layer and head by head?

Attention is a description: it says where values came from, not what they did. Only a
knock-out, which takes edges away and looks at the answer, is an effect.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Float64, Int64

from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import TokenRole

QueryKind = Literal["produces", "own"]
"""`produces`: the position whose output a token of the answer is taken from, the one
before it. `own`: that of the token itself, which is another reading."""

Criterion = Literal["subject mass", "sharpness", "agreement", "loss", "knock-out"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)
"""By which layers can be said to serve best. The first two describe, the third compares
with causes; `loss` is what the answer loses without edges to the subject, `knock-out`
that beyond what it loses without as many other edges."""

LEAST_SUBJECTS = 5
"""Subjects below which no lead is told apart from chance: too few to draw anew."""

Third = Literal["early", "middle", "late"]
THIRDS: tuple[Third, ...] = get_args(Third)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPlace:
    """One module that attends.

    Args:
        path: The module's own path in the base model.
        layer: Number of the block, from 0.
        num_heads: Query heads (count).
    """

    path: str
    layer: int
    num_heads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionQuery:
    """Which row of the maps is read.

    Args:
        kind: Of which position.
        answer_token: Number of the answer's token, from 0.
        position: The row, in the tokens that are fed.
    """

    kind: QueryKind
    answer_token: int
    position: int

    @property
    def name(self) -> str:
        """In a person's words.

        >>> AttentionQuery(kind="produces", answer_token=0, position=4).name
        'last prompt token'
        >>> AttentionQuery(kind="produces", answer_token=1, position=5).name
        'token before answer token 2'
        >>> AttentionQuery(kind="own", answer_token=1, position=6).name
        'answer token 2 itself'
        """
        if self.kind == "own":
            return f"answer token {self.answer_token + 1} itself"
        if not self.answer_token:
            return "last prompt token"
        return f"token before answer token {self.answer_token + 1}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionRows:
    """One prompt, one query: to which tokens every head attends.

    Weights and `sink_mass` of a head sum to 1; heads that a place does not have are
    NaN. What a map had to be formed whole for is None where that was not asked for.

    Args:
        prompt_id: Unique within the study.
        query: Which row.
        weights: Of each head over the tokens that are fed.
        sink_mass: What a learned sink takes, which is no token; 0 without one.
        num_seen: Keys that the query may attend to (count).
        value_weighted: Weight times the length of what the head writes of the token,
            `alpha |v W_O|`; None where heads' outputs do not go through one map.
        received: Mean weight of each key over the queries that can see it.
        rollout: Share of each token in the query's state after each place, by
            multiplying `(A + I) / 2`, heads averaged; a heuristic.
    """

    prompt_id: str
    query: AttentionQuery
    weights: Float32[np.ndarray, "place head key"]
    sink_mass: Float32[np.ndarray, "place head"]
    num_seen: Int64[np.ndarray, " place"]
    value_weighted: Float32[np.ndarray, "place head key"] | None = None
    received: Float32[np.ndarray, "place head key"] | None = None
    rollout: Float32[np.ndarray, "place key"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionMaps:
    """One prompt: every row of every head.

    Args:
        prompt_id: Which prompt.
        weights: Of each head from every token to every token; 0 where it may not look,
            NaN for heads that a place does not have.
    """

    prompt_id: str
    weights: Float32[np.ndarray, "place head query key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPrompt:
    """A prompt whose attention was read.

    Args:
        id: Unique within the study.
        text: The prompt's words.
        tokens: Text of each token that was fed.
        num_prompt: Tokens before the answer (count).
        answer: Text of the answer's tokens.
        subject: First token of the subject and one past its last; None without one.
        control: The same of an equally long span outside the subject, neither the
            first nor the last token; None where none fits.
        roles: Roles of each token; empty without a subject.
        cluster: Prompts of one cluster are not independent: the subject, or the id.
        is_known: The model's first choice is the given answer; None where none is
            given.
        log_prob: Log-probability of the answer (nats).
    """

    id: str
    text: str
    tokens: tuple[str, ...]
    num_prompt: int
    answer: tuple[str, ...]
    subject: tuple[int, int] | None
    control: tuple[int, int] | None
    roles: tuple[tuple[TokenRole, ...], ...]
    cluster: str
    is_known: bool | None
    log_prob: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionNumbers:
    """One prompt, one query: what rows say in a number per head.

    A head's masses on the first token, the subject, the control span, the rest and the
    sink sum to 1; the first token is none of the others, even where the subject has it.

    Args:
        prompt_id: Which prompt.
        query: Which row.
        first_mass: On the first token.
        sink_mass: On a learned sink.
        subject_mass: On the subject; NaN without one.
        control_mass: On the control span; NaN without one.
        role_mass: On the tokens of each role, in the order of `ROLES`, the first token
            left out; NaN without a subject or where no token plays it.
        sharpness: 1 less the row's entropy as a share of its largest, ln of the keys it
            may attend to; of a single key 1.
        mean_weights: The row itself, heads averaged.
    """

    prompt_id: str
    query: AttentionQuery
    first_mass: Float32[np.ndarray, "place head"]
    sink_mass: Float32[np.ndarray, "place head"]
    subject_mass: Float32[np.ndarray, "place head"]
    control_mass: Float32[np.ndarray, "place head"]
    role_mass: Float32[np.ndarray, "role place head"]
    sharpness: Float32[np.ndarray, "place head"]
    mean_weights: Float32[np.ndarray, "place key"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KnockOuts:
    """One prompt: what the answer loses without edges to a span.

    Args:
        prompt_id: Which prompt.
        window: Layers whose edges are cut at once (count).
        by_layer: Change of the answer's log-probability (nats) with the edges to the
            subject cut in the window around each layer that attends.
        by_third: The same, cut in the early, middle and late third.
        control_by_layer: The same with the edges to the control span; NaN without one.
        control_by_third: Likewise.
    """

    prompt_id: str
    window: int
    by_layer: Float64[np.ndarray, " layer"]
    by_third: Float64[np.ndarray, " third"]
    control_by_layer: Float64[np.ndarray, " layer"]
    control_by_third: Float64[np.ndarray, " third"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerScore:
    """One layer by one criterion, over prompts."""

    criterion: Criterion
    layer: int
    value: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ThirdScore:
    """A third of the layers by one criterion, over prompts."""

    criterion: Criterion
    third: Third
    value: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class BestThird:
    """Which third serves best by one criterion.

    Args:
        criterion: Which.
        third: Of the largest mean.
        share_of_resamples: In how many resamples of prompts it is the largest.
        lead: Its mean minus that of the next best, paired, with its interval.
        num_subjects: Different subjects behind the lead (count).
        layer: Layer of the largest mean.
        layer_low: Lower end of the bootstrap interval of that layer's number.
        layer_high: Upper end.
    """

    criterion: Criterion
    third: Third
    share_of_resamples: float
    lead: Interval
    num_subjects: int
    layer: int
    layer_low: int
    layer_high: int

    @property
    def is_settled(self) -> bool:
        """Its lead is told apart from none."""
        return self.lead.low > 0 and self.num_subjects >= LEAST_SUBJECTS


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadScore:
    """One head over prompts.

    Args:
        place: Number of the place, from 0.
        layer: Number of the block.
        head: Number of the head, from 0.
        subject_mass: On the subject, without the first token, minus control; None
            where no prompt has both.
        first_mass: On the first token.
        sharpness: 0 for an even spread to 1 for a single token.
    """

    place: int
    layer: int
    head: int
    subject_mass: float | None
    first_mass: float
    sharpness: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryFindings:
    """What one kind of query says over all prompts.

    Args:
        query: As of `AttentionQuery`; its position is that of the first prompt.
        layers: By criterion, then layer; criteria that could not be had are left out.
        thirds: Likewise by third.
        best: Of each criterion.
        heads: Every head.
        num_prompts: Prompts that are averaged (count).
        num_without_subject: Prompts with no subject (count).
        num_without_control: Prompts too short for a control span (count).
    """

    query: AttentionQuery
    layers: tuple[LayerScore, ...]
    thirds: tuple[ThirdScore, ...]
    best: tuple[BestThird, ...]
    heads: tuple[HeadScore, ...]
    num_prompts: int
    num_without_subject: int
    num_without_control: int


def without_first(
    weights: Float32[np.ndarray, "*places key"],
) -> Float32[np.ndarray, "*places key"]:
    """Weights without the first token, renormalised.

    It often is a sink that hides all else. Rows that look at nothing else are 0.

    >>> without_first(np.array([0.6, 0.3, 0.1], np.float32)).round(2).tolist()
    [0.0, 0.75, 0.25]
    """
    kept = weights.copy()
    kept[..., 0] = 0
    total = kept.sum(axis=-1, keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)
