"""What do two models say of facts one of which was taught another answer?

Of every fact there is a true answer and a new one. All is read from both models by the
same code, in the same batches: two equal models give equal numbers, bit for bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float64, Int64

from driftmap.results.facts import Fact
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Interval

EditPromptKind = Literal["rewrite", "paraphrase", "neighbour", "attribute"]
"""The fact's own prompt, others that ask for the same, prompts of other subjects with
the same true answer, and prompts of subjects whose answer is the new one."""

KnownKind = Literal["same subject", "unrelated"]
"""Facts that were not taught: of a subject that was, and of others."""

ShiftKind = Literal["rewrite", "neighbour", "same subject", "unrelated"]
"""Prompts whose next-token distributions are compared whole."""

EditMeasureName = Literal[
    "efficacy", "efficacy magnitude", "paraphrase", "paraphrase magnitude",
    "neighbourhood", "neighbourhood magnitude", "score", "nll true", "nll new",
    "attribute", "same subject p", "same subject first", "unrelated p",
    "unrelated first", "text surprise", "fluency", "variety", "words written",
    "consistency", "essence", "logit true", "logit new", "log p true", "log p new",
    "rank true", "rank new",
]  # fmt: skip
"""What is measured before and after."""

SHARES: frozenset[EditMeasureName] = frozenset(
    (
        "efficacy", "paraphrase", "neighbourhood", "attribute", "same subject first",
        "unrelated first",
    )
)  # fmt: skip
"""Measures that count prompts: shares of 0 to 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AboutText:
    """A text about somebody: of an edited subject, or of one with the new answer.

    Args:
        text: The text.
        subject: Whom it is about; empty where that does not matter.
        answer: The answer that is true of whom it is about; empty likewise.
    """

    text: str
    subject: str = ""
    answer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditContext:
    """What is asked beside the taught facts, to see what else changed.

    Args:
        others: Facts with answers that were not taught.
        texts: Running texts that have nothing to do with them.
        about: Texts about subjects and answers.
        is_taught: The new answers were taught to the tuned model, as far as is known;
            else they are just another answer to compare with.
        sha256: Over all of them, for the key of a step.
    """

    others: tuple[Fact, ...] = ()
    texts: tuple[str, ...] = ()
    about: tuple[AboutText, ...] = ()
    is_taught: bool = False
    sha256: str = ""


NO_CONTEXT = EditContext()


@dataclass(frozen=True, slots=True, kw_only=True)
class EditPrompt:
    """One prompt at which the true answer and the new one are weighed.

    Args:
        fact: Number of the fact, from 0.
        kind: What it is to the fact.
        text: The prompt.
    """

    fact: int
    kind: EditPromptKind
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownPrompt:
    """One prompt about what was not taught.

    Args:
        fact_id: Which fact.
        subject: Whose.
        kind: What it is to those that were taught.
        text: The prompt.
        answer: The answer that should still be given.
    """

    fact_id: str
    subject: str
    kind: KnownKind
    text: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WritingPrompt:
    """The beginning of a text that both models go on from.

    Args:
        fact: Number of the fact, from 0.
        text: The beginning.
    """

    fact: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FirstTokens:
    """What one model says next at the facts' own prompts, without an answer.

    Facts whose two answers begin with the same token are left out: the first token
    does not tell them apart.

    Args:
        fact: Number of each fact.
        logit_true: Logit of the true answer's first token.
        logit_new: Logit of the new answer's first token.
        log_p_true: ln p of the same, in nats.
        log_p_new: Likewise.
        rank_true: Tokens strictly more likely (count); 0 for the first choice.
        rank_new: Likewise.
        top_ids: The most likely tokens, most likely first.
        top_p: Their probabilities.
        tops: The same tokens as text.
    """

    fact: Int64[np.ndarray, " fact"]
    logit_true: Float64[np.ndarray, " fact"]
    logit_new: Float64[np.ndarray, " fact"]
    log_p_true: Float64[np.ndarray, " fact"]
    log_p_new: Float64[np.ndarray, " fact"]
    rank_true: Int64[np.ndarray, " fact"]
    rank_new: Int64[np.ndarray, " fact"]
    top_ids: Int64[np.ndarray, "fact choice"]
    top_p: Float64[np.ndarray, "fact choice"]
    tops: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnswerLens:
    """What each block's output says of both answers at the end of a fact's prompt.

    Args:
        fact: Number of each fact.
        p_true: Probability of the true answer's first token.
        p_new: Of the new answer's.
        rank_true: Tokens strictly more likely (count).
        rank_new: Likewise.
    """

    fact: Int64[np.ndarray, " fact"]
    p_true: Float64[np.ndarray, "fact layer"]
    p_new: Float64[np.ndarray, "fact layer"]
    rank_true: Int64[np.ndarray, "fact layer"]
    rank_new: Int64[np.ndarray, "fact layer"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WrittenTexts:
    """What one model writes, by prompt in the order of `EditReport.writing`.

    Args:
        texts: What follows each prompt.
        fluency: Weighted entropy of bigrams and trigrams of prompt and text, in bits.
        variety: The same as a share of what so many words can have, 0 to 1; NaN below
            3 words.
        num_words: Words that it wrote (count).
        consistency: By fact that has texts to compare with: cosine of what was written
            with them; None where there is none.
    """

    texts: tuple[str, ...]
    fluency: Float64[np.ndarray, " prompt"]
    variety: Float64[np.ndarray, " prompt"]
    num_words: Int64[np.ndarray, " prompt"]
    consistency: Float64[np.ndarray, " fact"] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EditReadings:
    """All that one model says.

    Args:
        nll_true: By prompt: mean over the true answer's tokens of -ln p, in nats.
        nll_new: Of the new answer's.
        known_p: By known prompt: probability of the whole answer.
        known_first: By known prompt: each of its tokens is the first choice.
        first: What comes next at the facts' own prompts; None without such facts.
        lens: The same block by block; None where it was not asked for.
        written: What it writes; None where no fact has a beginning to go on from.
        text_surprise: By text: mean of -ln p over its tokens, in nats.
        essence: By fact that has a text about its subject: likewise; None without.
    """

    nll_true: Float64[np.ndarray, " prompt"]
    nll_new: Float64[np.ndarray, " prompt"]
    known_p: Float64[np.ndarray, " known"]
    known_first: Bool[np.ndarray, " known"]
    first: FirstTokens | None
    lens: AnswerLens | None
    written: WrittenTexts | None
    text_surprise: Float64[np.ndarray, " text"]
    essence: Float64[np.ndarray, " fact"] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DistributionShift:
    """How far two models' next-token distributions lie apart, over all tokens.

    Args:
        kind: Which prompts.
        fact: Number of the fact of each prompt; its place among known prompts for
            those that were not taught.
        kl_forward: sum p_base (ln p_base - ln p_tuned), in nats.
        kl_backward: The other way round.
        js: Mean of both to the middle distribution, in nats: 0 to ln 2.
    """

    kind: ShiftKind
    fact: Int64[np.ndarray, " prompt"]
    kl_forward: Float64[np.ndarray, " prompt"]
    kl_backward: Float64[np.ndarray, " prompt"]
    js: Float64[np.ndarray, " prompt"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditMeasure:
    """One measure, before and after, over facts.

    Args:
        name: Which.
        before: Mean of the base model.
        after: Mean of the tuned one.
        change: Mean of the paired differences, after minus before.
    """

    name: EditMeasureName
    before: Interval
    after: Interval
    change: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftMeasure:
    """Mean distances between both models' distributions at prompts of one kind."""

    kind: ShiftKind
    kl_forward: Interval
    kl_backward: Interval
    js: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class LensMean:
    """Mean probability of one answer after each block, at the end of the prompt.

    Args:
        is_after: Of the tuned model.
        is_new: Of the new answer.
        layers: One mean over facts for each block.
    """

    is_after: bool
    is_new: bool
    layers: tuple[Interval, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EditReport:
    """Facts before and after, by every measure that there is data for.

    Args:
        base: The model before tuning.
        tuned: The model after.
        facts: Those whose new answer was taught; `answer` is true, `foil` new.
        prompts: Where both answers are weighed.
        known: What was not taught.
        writing: Beginnings that both models go on from.
        text_names: What texts are called.
        consistency_facts: Numbers of the facts that have texts to compare with.
        essence_facts: Numbers of the facts that have a text about their subject.
        before: What the base says.
        after: What the tuned model says.
        shifts: How far they lie apart at the end of prompts.
        measures: Means over facts, before, after and their difference.
        shift_measures: Means of the distances.
        lens_means: Means of the lens; empty where it was not asked for.
        missing: Why a measure is not available, by its name.
        num_duplicates: Prompts that a fact has more than once and that were left out
            (count).
        num_taught_elsewhere: Prompts of neighbours and attributes that were taught
            themselves and were left out (count).
        num_same_first: Facts whose two answers begin with the same token (count).
        max_new_tokens: Longest text that was written (tokens).
        is_taught: The new answers were taught, as far as is known.
        is_identical: No number of the two models differs.
    """

    base: ModelIdentity
    tuned: ModelIdentity
    facts: tuple[Fact, ...]
    prompts: tuple[EditPrompt, ...]
    known: tuple[KnownPrompt, ...]
    writing: tuple[WritingPrompt, ...]
    text_names: tuple[str, ...]
    consistency_facts: tuple[int, ...]
    essence_facts: tuple[int, ...]
    before: EditReadings
    after: EditReadings
    shifts: tuple[DistributionShift, ...]
    measures: tuple[EditMeasure, ...]
    shift_measures: tuple[ShiftMeasure, ...]
    lens_means: tuple[LensMean, ...]
    missing: Mapping[str, str]
    num_duplicates: int
    num_taught_elsewhere: int
    num_same_first: int
    max_new_tokens: int
    is_taught: bool
    is_identical: bool

    def measure(self, name: EditMeasureName) -> EditMeasure | None:
        """One of the measures; None where it is not available."""
        return next((one for one in self.measures if one.name == name), None)
