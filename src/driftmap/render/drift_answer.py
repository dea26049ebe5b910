"""What is asked, what is the answer, and what do its words mean?"""

from driftmap.render.drift_behaviour import SIDE_RATES
from driftmap.render.drift_cautions import (
    blocking_cautions,
    cautions_at,
    other_cautions,
)
from driftmap.render.page import Callout, Facts, Paragraph, Section, Terms
from driftmap.render.wording import change_of_rate, interval, p_value, rate
from driftmap.results.drift_study import DriftStudy
from driftmap.results.statistics import (
    BehaviourChange,
    GroupRatio,
    Verdict,
    VerdictKind,
)

HARDLY, EASILY = 0.05, 0.2
"""Below the first p, chance hardly gives a ratio; from the second on, easily."""

VERDICTS: dict[VerdictKind, str] = {
    "fragile": "A, fragile",
    "pathway creation": "B, consistent with pathway creation",
    "inconclusive": "inconclusive",
}

MEANINGS: dict[VerdictKind, str] = {
    "fragile": "The weights that carry the behaviour moved clearly more than weights "
    "like them. That fits a behaviour that is lost because its own weights are "
    "overwritten; it does not prove that protecting them would keep it.",
    "pathway creation": "The behaviour changed, yet the weights that carried it moved "
    "no more than weights like them, or by less than the declared margin. That fits a "
    "behaviour that is bypassed rather than overwritten: it is evidence against A, not "
    "proof of any one mechanism.",
    "inconclusive": "This run cannot tell the two readings apart. That is no evidence "
    "that they are equally likely, nor that nothing moved.",
}

READINGS = (
    (
        "A, fragile",
        "Tuning moves the behaviour's weights more than weights like them, and the "
        "behaviour goes with them. The ratio lies above the margin.",
    ),
    (
        "B, pathway creation",
        "Tuning moves those weights no more than others: it builds a way around them. "
        "The ratio lies below the margin although the behaviour changed.",
    ),
)

GLOSSARY = (
    (
        "weight",
        "One number of one of the model's matrices; fine-tuning changes weights.",
    ),
    (
        "drift",
        "How far a weight moved in fine-tuning: the size of its change, |dW|.",
    ),
    (
        "group",
        "A named set of weights, chosen before training by how much certain answers "
        "depend on them.",
    ),
    (
        "`difference`",
        "The group in question: weights that matter to the behaviour and not to "
        "ordinary ability (utility).",
    ),
    (
        "`matched`",
        "Its control: as many weights of the same sizes from the same matrices, none "
        "of them in another group.",
    ),
    (
        "`top`, `utility`",
        "For comparison: the weights that matter most to the behaviour, and those that "
        "matter most to ordinary ability, each by that alone.",
    ),
    (
        "`random`",
        "For comparison: weights drawn blindly, of all sizes.",
    ),
    (
        "ratio",
        "Drift of a group over the drift of all comparable weights: 1 means alike, 2 "
        "twice as much, 0.5 half as much.",
    ),
    (
        "seed",
        "One repetition of the training with other random numbers. An interval says "
        "how much a result varies from one repetition to the next.",
    ),
    (
        "permutation",
        "The group's rows and columns are shuffled within each matrix, again and "
        "again, to see which ratios chance alone gives. p is the share of shuffles "
        f"at least as far out as what was seen: below {HARDLY} chance hardly gives "
        f"it, from {EASILY} on easily.",
    ),
    (
        "margin",
        "How large a ratio must be to matter, declared before training.",
    ),
    (
        "SNIP",
        "The score by which weights are chosen: how much an answer's loss would change "
        "if the weight were 0, to first order.",
    ),
    (
        "LoRA",
        "Fine-tuning by adding a product of two thin matrices to each frozen matrix.",
    ),
    (
        "Jaccard",
        "Overlap of two groups: weights in both over weights in either, 0 to 1.",
    ),
    (
        "log-odds",
        "A probability p as log(p / (1 - p)): 0 at one half.",
    ),
)  # fmt: skip


def answer_section(study: DriftStudy) -> Section:
    """The verdict with the few numbers that carry it."""
    verdict = study.statistics.verdict
    return Section(
        anchor="answer",
        title="The answer",
        nodes=[
            Callout(
                kind="verdict",
                title=f"Verdict: {VERDICTS[verdict.kind]}",
                texts=[_without_kind(verdict)],
            ),
            Paragraph(text=f"{_in_plain_words(study)} {MEANINGS[verdict.kind]}"),
            *blocking_cautions(study),
            Facts(pairs=_key_numbers(study)),
            *cautions_at(study, "answer"),
            *other_cautions(study),
        ],
    )


def words_section() -> Section:
    """The two readings and the words that the page uses."""
    return Section(
        anchor="words",
        title="What is compared, and the words for it",
        nodes=[
            Paragraph(
                text="Fine-tuning can take a behaviour away, such as the refusal of "
                "harmful requests. Two readings of how it does so compete:"
            ),
            Terms(pairs=READINGS),
            Paragraph(
                text="To tell them apart, the weights that carry the behaviour are "
                "found before tuning and followed through it, beside weights like them."
            ),
            Terms(pairs=GLOSSARY),
        ],
    )


def _without_kind(verdict: Verdict) -> str:
    """The sentence without the words that the title already says."""
    kind, _, rest = verdict.sentence.partition(": ")
    if kind.lower() != VERDICTS[verdict.kind].lower():
        return verdict.sentence
    return _capital(rest)


def _in_plain_words(study: DriftStudy) -> str:
    group, rho = study.statistics.verdict.group, study.statistics.primary.rho
    share = abs(rho - 1) * 100
    if share < 0.5:
        how_far = "as far as"
    elif rho > 1:
        how_far = f"{share:.0f} % further than"
    else:
        how_far = f"{share:.0f} % less far than"
    seeds = study.statistics.primary.interval90
    spread = f"; {seeds.low:.2f} to {seeds.high:.2f} over seeds" if seeds else ""
    return (
        f"In plain words: the weights that matter to the behaviour and not to ordinary "
        f"ability (`{group}`) moved {how_far} weights of the same size in the same "
        f"matrices (ratio {rho:.2f}{spread})."
    )


def _key_numbers(study: DriftStudy) -> list[tuple[str, str]]:
    primary, verdict = study.statistics.primary, study.statistics.verdict
    seeds = study.statistics.num_seeds
    return [
        (
            "Ratio of drift, `difference` to its control",
            f"{primary.rho:.2f}; 1 = alike",
        ),
        (
            f"90 % interval over {seeds} seed{'s' * (seeds != 1)}",
            interval(primary.interval90)
            if primary.interval90
            else "none: it needs at least 2 seeds",
        ),
        (
            "Margin, declared before training",
            f"{verdict.margin:g}: {1 / verdict.margin:.2g} to {verdict.margin:g} "
            "counts as alike",
        ),
        ("Would chance give this ratio?", _chance(primary)),
        *[
            (_capital(b.outcome), _behaviour(b))
            for b in study.statistics.behaviours
            if not b.outcome.startswith(SIDE_RATES)
        ],
    ]


def _chance(primary: GroupRatio) -> str:
    if primary.p_value is None:
        return "not tested"
    if primary.p_value < HARDLY:
        answer = "hardly"
    else:
        answer = "yes, easily" if primary.p_value >= EASILY else "yes, at times"
    return (
        f"{answer}: p {p_value(primary.p_value, primary.num_permutations)}, "
        f"{primary.num_permutations:,} shuffles"
    )


def _behaviour(behaviour: BehaviourChange) -> str:
    return (
        f"{rate(behaviour.before)} before, {rate(behaviour.after)} after; change: "
        f"{change_of_rate(behaviour.change)}"
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
