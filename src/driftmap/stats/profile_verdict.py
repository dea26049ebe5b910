"""Do wordings share layers, do facts differ, is a reversed fact alike: what is told?

Each question rests on one contrast of the declared kind of state. A contrast that
chance reaches is said to be not told apart from it, with its p, whatever its area.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from scipy.stats import false_discovery_control

from driftmap.results.statistics import Caution
from driftmap.results.trace_comparison import (
    Ceiling,
    ClassContrast,
    Finding,
    KindComparison,
    PairClass,
    ProfileComparison,
    Question,
)

LEVEL = 0.05
"""Chance of a finding where there is none."""

FEW_SUBJECTS = 10
"""Below so many subjects, intervals are too narrow (count)."""

LOW_CEILING = 0.9
"""Mean likeness of a prompt with itself below which noise hides likeness."""

_ASKED: dict[Question, tuple[PairClass, PairClass]] = {
    "paraphrases": ("paraphrase", "nothing shared"),
    "different facts": ("paraphrase", "same relation"),
    "reversed": ("reversed", "nothing shared, reversed"),
}

_TITLES: dict[Question, tuple[str, str, str]] = {
    "paraphrases": (
        "Paraphrases share layers more than unrelated facts do",
        "Paraphrases are not told apart from unrelated facts",
        "paraphrases share layers more than unrelated facts do",
    ),
    "different facts": (
        "Facts of one relation differ more than wordings of one fact",
        "Facts of one relation are not told apart from wordings of one fact",
        "wordings of one fact are closer than facts of one relation",
    ),
    "reversed": (
        "A fact and its reversal share layers more than unrelated facts do",
        "A fact and its reversal are not told apart from unrelated facts",
        "a fact and its reversal share layers more than unrelated facts do",
    ),
}
"""If it is told apart, if it is not, and what is asked."""

_MISSING: dict[Question, str] = {
    "paraphrases": "no fact has two wordings with a profile, beside one that shares "
    "nothing with it",
    "different facts": "no fact has two wordings with a profile, beside another fact "
    "of its relation",
    "reversed": "there is no fact that the model predicts in both directions, with a "
    "profile in both, beside one that shares nothing with it",
}


def adjusted(
    contrasts: Sequence[Sequence[ClassContrast]],
) -> tuple[tuple[ClassContrast, ...], ...]:
    """Give every contrast but the declared one its Benjamini-Hochberg p-value.

    Args:
        contrasts: Kind by kind; the first of the first kind was declared beforehand.

    Returns:
        The same in the same order.
    """
    flat = [one for of_kind in contrasts for one in of_kind]
    others = [one.p_value for one in flat[1:]]
    found = [None, *map(float, false_discovery_control(others))] if others else [None]
    filled = iter(
        replace(one, p_adjusted=p) for one, p in zip(flat, found, strict=False)
    )
    return tuple(tuple(next(filled) for _ in of_kind) for of_kind in contrasts)


def findings(contrasts: Sequence[ClassContrast]) -> tuple[Finding, ...]:
    """Answer the three questions.

    Args:
        contrasts: Of the declared kind.
    """
    by_names = {(one.name, one.against): one for one in contrasts}
    return tuple(
        _finding(question, by_names.get(names)) for question, names in _ASKED.items()
    )


def _finding(question: Question, contrast: ClassContrast | None) -> Finding:
    yes, no, asked = _TITLES[question]
    if contrast is None:
        return Finding(
            question=question,
            title=f"Not asked: {asked}",
            sentence=f"Whether {asked} could not be asked: {_MISSING[question]}.",
            is_told_apart=False,
            contrast=None,
        )
    p_value = contrast.p_value if contrast.p_adjusted is None else contrast.p_adjusted
    is_told_apart = p_value <= LEVEL
    numbers = _numbers(contrast)
    said = (
        f"{yes}: {numbers}" if is_told_apart else f"{no} (not told apart from chance)"
    )
    sentence = f"{said}." if is_told_apart else f"{said}: {numbers}."
    return Finding(
        question=question,
        title=yes if is_told_apart else no,
        sentence=sentence,
        is_told_apart=is_told_apart,
        contrast=contrast,
    )


def _numbers(contrast: ClassContrast) -> str:
    area = contrast.auc
    most = "not measured" if contrast.ceiling is None else f"{contrast.ceiling:.2f}"
    p_value, name = contrast.p_value, "p"
    if contrast.p_adjusted is not None:
        p_value, name = contrast.p_adjusted, "adjusted p"
    return (
        f"AUC {area.estimate:.2f} ({area.low:.2f} to {area.high:.2f}), ceiling {most}, "
        f"{contrast.num_facts:,} facts of {area.num:,} subjects, {name} {p_value:.2g}"
    )


def comparison_cautions(kinds: Sequence[KindComparison]) -> tuple[Caution, ...]:
    """Say what weakens the answer, from the declared kind."""
    declared = kinds[0]
    return (
        *_of_answers(declared.contrasts[:1]),
        *_of_noise(declared.ceiling),
        *_of_prompts(declared.comparison),
    )


def _of_answers(declared: Sequence[ClassContrast]) -> Iterator[Caution]:
    for one in declared:
        if one.auc.num < FEW_SUBJECTS:
            yield Caution(
                name="few-subjects",
                sentence=f"Pairs of the class `{one.name}` come from {one.auc.num} "
                f"subjects; below {FEW_SUBJECTS}, intervals by resampling are too "
                "narrow. Trace more subjects.",
                value=float(one.auc.num),
                is_blocking=False,
            )
        if one.answer_auc > 0.5:
            yield Caution(
                name="shared-answers",
                sentence="Prompts of one fact have the same answer, and the share of "
                "answer tokens in common alone tells them from unrelated ones with an "
                f"AUC of {one.answer_auc:.2f}. Likeness of profiles may be likeness of "
                "answers; wordings against facts of one relation, which share answers "
                "more often, are the stricter question.",
                value=one.answer_auc,
                is_blocking=False,
            )


def _of_noise(most: Ceiling | None) -> Iterator[Caution]:
    if most is not None and most.likeness < LOW_CEILING:
        yield Caution(
            name="low-ceiling",
            sentence="A prompt's profile has a mean correlation of "
            f"{most.likeness:.2f} with its own under other noise. More draws "
            "(`--num-draws`) make profiles less noisy.",
            value=most.likeness,
            is_blocking=False,
        )


def _of_prompts(compared: ProfileComparison) -> Iterator[Caution]:
    refused, kept = compared.refused, len(compared.profiles)
    if refused.num > kept:
        yield Caution(
            name="many-refused",
            sentence=f"{refused.num} of {refused.num + kept} prompts have no profile, "
            "so that the answer is about the others alone.",
            value=float(refused.num),
            is_blocking=False,
        )
    if not any(profile.relation for profile in compared.profiles):
        yield Caution(
            name="no-relations",
            sentence="The facts name no relations, so that pairs which share one "
            "count as sharing nothing.",
            value=0.0,
            is_blocking=False,
        )
