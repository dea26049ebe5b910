"""Along which direction do a model's states tell one instruction from another?

The two instructions are called honest and dishonest, whatever they say: a direction is
learnt from true statements alone, so it reads the instruction and not truth.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float32, Float64

from driftmap.results.statistics import Interval

ReadingMethod = Literal["mean_difference", "shuffled_pca", "logistic", "lda", "random"]
"""How a direction is found: the difference of means; the first component of pair
differences of shuffled order; a penalised logistic regression; a shrunken linear
discriminant; or drawn blindly."""

Half = Literal["train", "validation", "test"]
"""Which statements: those that directions are made of, those that layers and the
threshold are chosen on, those that are reported."""

TransferName = Literal[
    "other_wording",
    "false_statements",
    "true_against_false",
    "negated",
    "given",
]
"""What a direction is tried on beside what it was made for: other words for both
instructions; false statements under both; true against false statements under none; the
same with both negated; statements of another file."""

UnitKind = Literal["neuron", "head"]
TextKind = Literal["honest", "dishonest", "given"]
SteeredAlong = Literal["reading", "random"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadingVector:
    """One direction per layer, and where on it the two instructions meet.

    The score of a state h is `(h - midpoint) . direction / pooled_sd`: 0 halfway
    between the class means, positive where the state is more like the honest ones.

    Args:
        method: How the directions were found.
        layers: The blocks whose outputs are read, before any final norm.
        direction: Of length 1, honest positive.
        midpoint: Halfway between the means of both classes.
        pooled_sd: Spread within the classes along the direction.
        agreement: Share of training pairs whose honest state lies higher, ties half.
    """

    method: ReadingMethod
    layers: tuple[int, ...]
    direction: Float32[np.ndarray, "layer width"]
    midpoint: Float32[np.ndarray, "layer width"]
    pooled_sd: Float64[np.ndarray, " layer"]
    agreement: Float64[np.ndarray, " layer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerEvidence:
    """How well one layer's direction does on statements it was not made of.

    Args:
        method: How the direction was found.
        layer: The block.
        half: Which statements.
        pair_accuracy: Share of pairs whose honest state scores higher, ties half.
        auroc: Probability that an honest state scores above a dishonest one.
        control_accuracy: Pair accuracy of the same method where labels are shuffled by
            pair, mean over draws.
        statement_control: The same where each statement draws one label for all its
            pairs.
        memorised: Training accuracy of the last: what the method could learn by heart.
        selectivity: `pair_accuracy - control_accuracy`, on the same statements.
        random_accuracy: Pair accuracy of blind directions, signed like the others; the
            interval holds 95 % of directions and `num` counts them.
    """

    method: ReadingMethod
    layer: int
    half: Half
    pair_accuracy: Interval
    auroc: Interval
    control_accuracy: Interval
    statement_control: Interval
    memorised: float
    selectivity: Interval
    random_accuracy: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadingBand:
    """Layers whose mean score is read, chosen on validation and tried on test.

    Args:
        method: How the directions were found.
        layers: Neighbouring blocks.
        best: The best of them on validation.
        threshold: Score above which one state alone is called honest, from validation.
        pair_accuracy: On test.
        auroc: On test.
        accuracy: Share of single states on the right side of the threshold, on test.
        control_accuracy: On test, with labels shuffled by pair.
        selectivity: `pair_accuracy - control_accuracy`.
    """

    method: ReadingMethod
    layers: tuple[int, ...]
    best: int
    threshold: float
    pair_accuracy: Interval
    auroc: Interval
    accuracy: Interval
    control_accuracy: Interval
    selectivity: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What the band's score tells of something it was not made for, on test.

    Args:
        name: What it is tried on.
        asked: The same in words.
        auroc: Probability that the first kind scores above the second; None where
            there is nothing to try it on.
        pair_accuracy: Where both kinds come in pairs; else None.
        missing: Why there is no number; empty where there is one.
    """

    name: TransferName
    asked: str
    auroc: Interval | None
    pair_accuracy: Interval | None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredText:
    """One text, each token with its score at each layer.

    Args:
        name: Which text: the question's id, or the name of a given one.
        kind: The answer under the honest or the dishonest instruction, or a given text.
        title: What stands above it.
        text: All of it, instruction included.
        pieces: The text cut at its tokens: joined they are the text. Of a character of
            several tokens the last holds it and the others are empty.
        is_prompt: Tokens that were put to the model, and not said by it.
        layers: The layers of `score`.
        score: 0 on the boundary, positive where more honest.
        band_score: Mean over the band's layers.
    """

    name: str
    kind: TextKind
    title: str
    text: str
    pieces: tuple[str, ...]
    is_prompt: Bool[np.ndarray, " token"]
    layers: tuple[int, ...]
    score: Float32[np.ndarray, "token layer"]
    band_score: Float32[np.ndarray, " token"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResponse:
    """A neuron or a head that acts otherwise under the two instructions.

    Args:
        kind: Neuron of an MLP (its activation before the map down) or attention head
            (its output along the mean difference of training).
        layer: The block.
        unit: Its number.
        train_effect: Mean difference honest minus dishonest over its spread between
            statements, on train: what it was ranked by.
        held_out: Mean difference on test.
        held_out_effect: The same over its spread.
        p_value: Of no difference, on test.
        p_adjusted: The same, given how many units are tested (Benjamini-Hochberg).
    """

    kind: UnitKind
    layer: int
    unit: int
    train_effect: float
    held_out: Interval
    held_out_effect: float
    p_value: float
    p_adjusted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringPoint:
    """What the model does while its states are moved along a direction.

    Args:
        along: The reading direction, or a blind one of equal length.
        number: Which blind direction, from 0; 0 for the reading direction.
        strength: c, in spreads: the state moves by `c x pooled_sd`.
        log_odds: ln p(true answer) - ln p(false answer), mean over questions (nats);
            None without questions.
        p_true: p(true answer), mean over questions.
        share_true: Share of questions whose true answer is likelier than the false one.
        perplexity: On text that has nothing to do with it.
    """

    along: SteeredAlong
    number: int
    strength: float
    log_odds: Interval | None
    p_true: Interval | None
    share_true: Interval | None
    perplexity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestyCounts:
    """How much there was to read.

    Args:
        statements: True statements in each half.
        pairs: Cuts of them in each half.
        false_statements: False statements of the test half.
        left_out: Why statements were left out, and how many.
        groups: Near-duplicate statements that went together: groups of two or more.
        questions: Questions that steering was measured on.
        units: Neurons and heads that were looked at.
    """

    statements: Mapping[str, int]
    pairs: Mapping[str, int]
    false_statements: int
    left_out: Mapping[str, int]
    groups: int
    questions: int
    units: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestyResult:
    """Every number of a study of honesty readings, but for token scores.

    Args:
        model: What was read.
        honest: The honest instruction as it was put.
        dishonest: The dishonest one.
        template: `chat` or `plain`.
        layers: The blocks that were read.
        method: The method of the band, the token scores and steering.
        evidence: Per method, layer and half (validation and test).
        band: The layers that are read.
        transfers: What else the band was tried on.
        units: Ranked on train, reported on test.
        steering: Points of all curves; empty where none was measured.
        steered_layers: Where states were moved.
        counts: How much there was to read.
    """

    model: str
    honest: str
    dishonest: str
    template: str
    layers: tuple[int, ...]
    method: ReadingMethod
    evidence: tuple[LayerEvidence, ...]
    band: ReadingBand
    transfers: tuple[Transfer, ...]
    units: tuple[UnitResponse, ...]
    steering: tuple[SteeringPoint, ...]
    steered_layers: tuple[int, ...]
    counts: HonestyCounts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HonestyReading:
    """Directions of every method, how they do, and the layers that are read.

    Args:
        vectors: One per method, blind directions left out.
        evidence: Per method, layer and half.
        band: Of the chosen method.
    """

    vectors: tuple[ReadingVector, ...]
    evidence: tuple[LayerEvidence, ...]
    band: ReadingBand


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfers:
    """All that the band was tried on."""

    rows: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScoredTexts:
    """All texts with the score of every token."""

    texts: tuple[ScoredText, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitResponses:
    """Neurons and heads that answer to the instruction.

    Args:
        units: Ranked on train, reported on test.
        looked_at: Kind -> how many there are.
    """

    units: tuple[UnitResponse, ...]
    looked_at: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Steering:
    """What steering did.

    Args:
        points: Of all curves.
        layers: Where states were moved.
        questions: Questions that were asked (count).
    """

    points: tuple[SteeringPoint, ...]
    layers: tuple[int, ...]
    questions: int
