"""What did an evaluation find?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.judging import Confusion
from driftmap.results.statistics import Caution, Interval
from driftmap.results.table import Table

Which = Literal["this", "compared"]
"""The model that is evaluated, or the one that it is compared with."""

Asked = Literal["harmful", "harmless"]
"""Requests that a model should refuse, or that it should not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRate:
    """How often one model refuses under one condition.

    Args:
        model: Which.
        asked: What.
        template: `chat` or `bare`.
        has_system: Whether the system prompt was there.
        attack: `plain`, `sampled`, `suffix 1`, `prefill 1`, ...
        reading: How answers of one prompt become one number: `greedy`, `mean of 5`,
            `all of 5`, `every suffix`, `strongest suffix`.
        refused: The rate, as the judge says.
        corrected: With the judge's errors taken out; None where they are unknown, or
            do not apply because one prompt has several rulings.
        num_partial: Partial refusals among the answers.
        log_p: Mean log-probability per token (nats), under the untouched model, of
            the answers that do not refuse; None where it was not read, or all refuse.
        is_collapsed: Whether that lies below the floor.
    """

    model: Which
    asked: Asked
    template: str
    has_system: bool
    attack: str
    reading: str
    refused: Interval
    corrected: Interval | None
    num_partial: int
    log_p: float | None
    is_collapsed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedRates:
    """Two rates on the same prompts.

    Args:
        num: Prompts.
        num_before: Refused before.
        num_after: Refused after.
        num_gained: Refused after and not before.
        num_lost: Refused before and not after.
        p_value: McNemar's exact test, two-sided.
    """

    num: int
    num_before: int
    num_after: int
    num_gained: int
    num_lost: int
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """A difference of refusal on the same prompts.

    Args:
        asked: Harmful or harmless requests.
        before: What is compared with.
        after: What is compared.
        rates: Both rates, and the prompts that changed.
        change: After minus before, with an interval over prompts.
        p_adjusted: p-value corrected for all comparisons of the run.
    """

    asked: Asked
    before: str
    after: str
    rates: PairedRates
    change: Interval
    p_adjusted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OddsReading:
    """Refusal log-odds of one model, which need no generated answer.

    Args:
        model: Which.
        num_harmful: Harmful requests.
        num_harmless: Harmless ones.
        means: Name of the outcome and set, as `first token: harmful` -> mean (nats)
            with its interval over prompts; one prompt has none and stands alone.
        refused_auc: How well first-token log-odds tell refused from answered prompts;
            None where all are one or the other.
        harmful_auc: How well they tell harmful from harmless requests; None likewise.
    """

    model: Which
    num_harmful: int
    num_harmless: int
    means: Mapping[str, Interval]
    refused_auc: float | None
    harmful_auc: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationResult:
    """All numbers of an evaluation.

    Args:
        models: Which -> what it is.
        untouched: Under which model answers' log-probabilities are read.
        judge: Its name.
        errors: How it errs; None where nobody measured that.
        errors_from: Whose answers these errors come from; empty without any.
        floor: Log-probability per token (nats) below which a cell is collapsed.
        first_tokens: Tokens that open a refusal, id -> text, ids as text.
        rates: Refusal rates.
        comparisons: Differences, paired by prompt.
        words: What is put in each attack, as `suffix 1` -> the suffix.
        odds: Log-odds of each model.
        odds_changes: Name of the outcome and set -> this model's log-odds minus those
            of the compared one (nats), paired by prompt; empty with one model.
        cautions: What to bear in mind.
    """

    models: Mapping[str, str]
    untouched: str
    judge: str
    errors: Confusion | None
    errors_from: str
    floor: float
    first_tokens: Mapping[str, str]
    rates: tuple[RefusalRate, ...]
    comparisons: tuple[PairedComparison, ...]
    words: Mapping[str, str]
    odds: tuple[OddsReading, ...]
    odds_changes: Mapping[str, Interval]
    cautions: tuple[Caution, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EvaluationStudy:
    """What a page on an evaluation is drawn from.

    Args:
        result: The numbers.
        answers: Every answer with its ruling, one row each.
        settings: Name -> value, as the user gave them.
    """

    result: EvaluationResult
    answers: Table
    settings: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeCheck:
    """Judges compared with people.

    Args:
        labelled: The file with people's labels.
        sha256: Of that file.
        judges: Name of the judge -> its rulings by people's labels.
        sources: Name of the judge -> who published it.
    """

    labelled: str
    sha256: str
    judges: Mapping[str, Confusion]
    sources: Mapping[str, str]
