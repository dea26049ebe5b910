"""What do two models look at, on the same tokens, and what became of that?

Attention is context, not evidence: a shift says that values are taken from elsewhere,
not that an answer came to depend on them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from driftmap.results.attention import (
    LEAST_SUBJECTS,
    AttentionNumbers,
    AttentionPlace,
    AttentionPrompt,
)
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import TokenRole

SUBJECT = "the subject"
"""The name of the subject among words that are looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerLogits:
    """What both models say next at a prompt's end, by the first token of each answer.

    Args:
        taught_before: Log-probability (nats) of the answer that was taught, the foil
            of an edited fact, in the base model; None without one.
        taught_after: The same in the tuned model.
        given_before: Of the fact's own answer, in the base model; None without one, or
            where both begin with the same token.
        given_after: The same in the tuned model.
        is_first_before: The taught answer, or else the only one, is the base model's
            first choice.
        is_first_after: It is the tuned model's.
    """

    taught_before: float | None
    taught_after: float | None
    given_before: float | None
    given_after: float | None
    is_first_before: bool
    is_first_after: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WordMass:
    """Weight on the tokens of some words, the first token of the text left out.

    Args:
        before: In the base model.
        after: In the tuned model.
        control_before: On as many tokens elsewhere, in the base model; NaN where there
            is no room for them.
        control_after: In the tuned model.
    """

    before: Float32[np.ndarray, "place head"]
    after: Float32[np.ndarray, "place head"]
    control_before: Float32[np.ndarray, "place head"]
    control_after: Float32[np.ndarray, "place head"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PromptAttention:
    """One prompt that both models read, from its last token.

    Args:
        prompt: Its tokens and spans.
        is_edited: It is about a subject of the facts; else about another, untouched
            one.
        before: Rows of the base model in numbers.
        after: Of the tuned model.
        divergence: Jensen-Shannon divergence (nats) of each head's two rows.
        words: Given words that stand in the prompt -> weight on them.
        answers: What both models say next.
    """

    prompt: AttentionPrompt
    is_edited: bool
    before: AttentionNumbers
    after: AttentionNumbers
    divergence: Float32[np.ndarray, "place head"]
    words: Mapping[str, WordMass]
    answers: AnswerLogits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextAttention:
    """One text: whole maps of both models.

    Args:
        text: As it was given.
        tokens: As a person reads them.
        starred: Numbers of the tokens that are the subject or given words.
        words: Given words in it, and subjects -> numbers of their tokens.
        rows: Numbers of the tokens that look, the last of the text; all where there is
            room.
        before: Weights of the base model, heads averaged, from each of them to each
            token.
        after: Of the tuned model.
        heads: Place and number of the heads whose own maps are kept, those that moved
            most; all of them where there is room.
        head_before: Their maps in the base model.
        head_after: In the tuned model.
        row_before: What every head looks at from the last token, in the base model.
        row_after: In the tuned model.
    """

    text: str
    tokens: tuple[str, ...]
    starred: tuple[int, ...]
    words: Mapping[str, tuple[int, ...]]
    rows: tuple[int, ...]
    before: Float32[np.ndarray, "place query key"]
    after: Float32[np.ndarray, "place query key"]
    heads: tuple[tuple[int, int], ...]
    head_before: Float32[np.ndarray, "head query key"]
    head_after: Float32[np.ndarray, "head query key"]
    row_before: Float32[np.ndarray, "place own_head key"]
    row_after: Float32[np.ndarray, "place own_head key"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BothRead:
    """What two models look at, before anything is averaged.

    Args:
        base: Name of the model before tuning.
        tuned: Name of what was made of it.
        places: Where both attend.
        num_layers: Blocks (count).
        prompts: About the facts' own subjects, and about others.
        texts: Those whose maps were read.
        is_identical: Logits and rows are equal, bit for bit, on all that was read.
        is_undisturbed: On the first of it, both models' logits are the same with and
            without someone looking, bit for bit.
        left_out: Why prompts could not be read -> how many.
    """

    base: str
    tuned: str
    places: tuple[AttentionPlace, ...]
    num_layers: int
    prompts: tuple[PromptAttention, ...]
    texts: tuple[TextAttention, ...]
    is_identical: bool
    is_undisturbed: bool
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """How far weight on some tokens moved, tuned minus base, over subjects.

    Args:
        plain: Its mean change.
        control: That on as many tokens elsewhere in the same prompts; None where no
            prompt has room for them.
        untouched: The change, less control, on prompts about other subjects; None
            without any.
        net: `plain` less the other two. Its interval holds for all places of its kind
            (layers, or heads) together, 95 %.
    """

    plain: Interval
    control: Interval | None
    untouched: Interval | None
    net: Interval

    @property
    def has_enough(self) -> bool:
        """On either side there are subjects enough to tell a shift from chance."""
        sides = [self.net, *([] if self.untouched is None else [self.untouched])]
        return all(side.num >= LEAST_SUBJECTS for side in sides)

    @property
    def is_settled(self) -> bool:
        """It is told apart from none, all others of its kind considered."""
        return self.has_enough and not self.net.low <= 0 <= self.net.high


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerShift:
    """A layer, its heads averaged."""

    layer: int
    shift: Shift


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadShift:
    """A single head, with how far its row moved as a whole.

    Args:
        place: Number of the place, from 0.
        layer: Number of the block.
        head: Number of the head, from 0.
        shift: Of its weight.
        divergence: Mean Jensen-Shannon divergence (nats) of its rows; it is never
            below 0, whatever moved.
    """

    place: int
    layer: int
    head: int
    shift: Shift
    divergence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleShift:
    """Tokens of one role, by layer, less as many tokens of the control span."""

    role: TokenRole
    layer: int
    shift: Shift


@dataclass(frozen=True, slots=True, kw_only=True)
class WordsShift:
    """What became of the weight on the subject, or on given words.

    Args:
        words: Which; `SUBJECT` for the subject.
        whole: All layers and heads averaged.
        layers: By layer.
        heads: By head.
        roles: By role and layer; of the subject alone.
        num_prompts: Prompts about edited facts that have the words (count).
        num_without_control: Those too short for a control span (count).
        num_untouched: Prompts about other subjects (count).
    """

    words: str
    whole: Shift
    layers: tuple[LayerShift, ...]
    heads: tuple[HeadShift, ...]
    roles: tuple[RoleShift, ...]
    num_prompts: int
    num_without_control: int
    num_untouched: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerShift:
    """What became of the answers, over the subjects of edited facts.

    Args:
        taught: Change of the taught answer's log-probability (nats); None without one.
        given: Of the fact's own answer.
        num_prompts: Prompts with both answers, or with the one there is (count).
        num_risen: Those on which the taught answer, or else the only one, rose.
        num_first_before: Those where it is the base model's first choice.
        num_first_after: Those where it is the tuned model's.
    """

    taught: Interval | None
    given: Interval | None
    num_prompts: int
    num_risen: int
    num_first_before: int
    num_first_after: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionChange:
    """All that two models' attention says.

    Args:
        base: Name of the model before tuning.
        tuned: Name of what was made of it.
        places: Where both attend.
        num_layers: Blocks (count).
        is_identical: Logits and rows are equal, bit for bit, on all that was read.
        is_undisturbed: On the first text read, both models' logits are the same with
            and without someone looking, bit for bit.
        shifts: Of the subject first, then of given words; empty without facts.
        first_token: Change of the weight on the first token by layer; it is part of no
            other number.
        answers: What became of the answers; None without facts.
        texts: Those whose whole maps were read.
        num_edited: Prompts about the facts' own subjects (count).
        num_untouched: Prompts about other subjects (count).
        left_out: Why others could not be read -> how many.
    """

    base: str
    tuned: str
    places: tuple[AttentionPlace, ...]
    num_layers: int
    is_identical: bool
    is_undisturbed: bool
    shifts: tuple[WordsShift, ...]
    first_token: tuple[LayerShift, ...]
    answers: AnswerShift | None
    texts: tuple[TextAttention, ...]
    num_edited: int
    num_untouched: int
    left_out: Mapping[str, int]
