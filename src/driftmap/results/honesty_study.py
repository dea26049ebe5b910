"""What does a finished study of honesty readings hold for whoever draws it?"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from driftmap.results.honesty import HonestyResult, ScoredText
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Caution

HonestyVerdictKind = Literal["read", "not selective", "chance", "inconclusive"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestyVerdict:
    """The answer in words.

    Args:
        kind: `read`: on held-out statements the direction tells the two instructions
            apart, and the same method does not do as well on labels that mean nothing;
            `not selective`: it tells them apart, but no better than meaningless
            labels; `chance`: it does not tell them apart; `inconclusive`: too few
            statements.
        sentence: The same with its numbers.
        settles: What would settle or sharpen it; empty for nothing.
    """

    kind: HonestyVerdictKind
    sentence: str
    settles: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HonestyFindings:
    """All that a run found out about honesty readings.

    Args:
        model: The model as loaded.
        result: Every number but for token scores.
        texts: Texts with the score of every token at every layer; texts of one `name`
            are shown side by side.
        verdict: The answer.
        cautions: What to keep in mind.
    """

    model: ModelIdentity
    result: HonestyResult
    texts: tuple[ScoredText, ...]
    verdict: HonestyVerdict
    cautions: tuple[Caution, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HonestyStudy:
    """All that a run of honesty readings says, to be drawn.

    Args:
        settings: The resolved recipe, option -> value.
        versions: Package -> version of what made the run.
        findings: What it found out.
    """

    settings: Mapping[str, object]
    versions: Mapping[str, str]
    findings: HonestyFindings
