"""Where on the drift page does each caution stand?

A caution stands beside the numbers it concerns, once, with all others of its kind.
One that blocks the verdict stands on top as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from driftmap.render.page import Callout
from driftmap.results.drift_study import DriftStudy
from driftmap.results.statistics import Caution

Place = Literal["answer", "behaviour", "ratio", "pooled", "chance", "relative", "group"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CautionWords:
    """How one kind of caution is introduced, and where."""

    title: str
    place: Place


KINDS = {
    "trial": CautionWords(title="A trial run", place="answer"),
    "few-seeds": CautionWords(title="Too few training seeds", place="answer"),
    "rounded-weights": CautionWords(
        title="Drift read from rounded weights", place="answer"
    ),
    "half-precision": CautionWords(title="A model in 16 bits", place="ratio"),
    "whole-models": CautionWords(title="Models saved whole", place="ratio"),
    "whole-matrices": CautionWords(title="Matrices saved whole", place="ratio"),
    "dora": CautionWords(title="Rows that DoRA rescales", place="ratio"),
    "quantised-base": CautionWords(title="A quantised base", place="ratio"),
    "structural-zeros": CautionWords(
        title="Weights that training could not change", place="ratio"
    ),
    "kept-weights": CautionWords(
        title="Weights that were kept from moving", place="ratio"
    ),
    "few-weights": CautionWords(title="Few weights per matrix", place="ratio"),
    "dropped-bins": CautionWords(title="Weights without a control", place="ratio"),
    "module-mix": CautionWords(
        title="The groups lie in different places", place="pooled"
    ),
    "few-permutations": CautionWords(
        title="Too few rearrangements", place="chance"
    ),
    "shared-samples": CautionWords(
        title="Samples used twice", place="behaviour"
    ),
    "relative-change": CautionWords(
        title="Relative change favours small weights", place="relative"
    ),
    "tiny-weights": CautionWords(title="Weights next to zero", place="relative"),
    "low-ceiling": CautionWords(title="Groups that may not repeat", place="group"),
}  # fmt: skip
"""A kind that is not listed stands with the answer, under its own name."""

SECTIONS: dict[Place, str] = {
    "behaviour": "Did tuning change the behaviour?",
    "ratio": "Do these weights drift more?",
    "pooled": "Do these weights drift more?",
    "chance": "What would chance give?",
    "relative": "Every metric",
    "group": "How it was measured",
}


def cautions_at(study: DriftStudy, place: Place) -> list[Callout]:
    """The cautions that stand at one place, one callout per kind."""
    here = [c for c in study.statistics.cautions if _words(c).place == place]
    if place == "answer":
        here = [c for c in here if not c.is_blocking]
    return _merged(here)


def blocking_cautions(study: DriftStudy) -> list[Callout]:
    """The cautions that rule a verdict out."""
    return _merged(c for c in study.statistics.cautions if c.is_blocking)


def other_cautions(study: DriftStudy) -> list[Callout]:
    """One note that names the cautions of other sections; empty without any."""
    by_section: dict[str, dict[str, None]] = {}
    for words in map(_words, study.statistics.cautions):
        if words.place in SECTIONS:
            titles = by_section.setdefault(SECTIONS[words.place], {})
            titles[_lower(words.title)] = None
    if not by_section:
        return []
    return [
        Callout(
            kind="note",
            title="Cautions that stand beside the numbers they concern",
            texts=[
                f"under “{section}”: {'; '.join(titles)}"
                for section, titles in by_section.items()
            ],
        )
    ]


def _merged(cautions: Iterable[Caution]) -> list[Callout]:
    kinds: dict[str, list[Caution]] = {}
    for caution in cautions:
        kinds.setdefault(caution.name, []).append(caution)
    return [
        Callout(
            kind="blocking" if same[0].is_blocking else "caution",
            title=("No verdict: " if same[0].is_blocking else "Read with care: ")
            + _lower(_words(same[0]).title),
            texts=[caution.sentence for caution in same],
        )
        for same in kinds.values()
    ]


def _words(caution: Caution) -> CautionWords:
    own = CautionWords(title=caution.name.replace("-", " "), place="answer")
    return KINDS.get(caution.name, own)


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]
