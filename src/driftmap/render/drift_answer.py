"""What is the answer, in a sentence and in the few numbers that carry it?"""

from driftmap.render.drift_behaviour import SIDE_RATES
from driftmap.render.drift_cautions import (
    blocking_cautions,
    cautions_at,
    other_cautions,
)
from driftmap.render.drift_words import is_read, when_declared
from driftmap.render.page import Callout, Facts, Paragraph, Section
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


def _without_kind(verdict: Verdict) -> str:
    """The sentence without the words that the title already says."""
    kind, _, rest = verdict.sentence.partition(": ")
    if kind.lower() != VERDICTS[verdict.kind].lower():
        return verdict.sentence
    return _capital(rest)


def _in_plain_words(study: DriftStudy) -> str:
    group, primary = study.statistics.verdict.group, study.statistics.primary
    weights = (
        f"the weights of `{group}`, chosen elsewhere,"
        if is_read(study)
        else "the weights that matter to the behaviour and not to ordinary ability "
        f"(`{group}`)"
    )
    if primary is None:
        return (
            f"In plain words: {weights} were kept from moving, so nothing can be said "
            "of their drift."
        )
    return (
        f"In plain words: {weights} moved {_how_far(primary.rho)} weights of the same "
        f"size in the same matrices (ratio {primary.rho:.2f}{_spread(primary)})."
    )


def _how_far(rho: float) -> str:
    share = abs(rho - 1) * 100
    if share < 0.5:
        return "as far as"
    return f"{share:.0f} % {'further' if rho > 1 else 'less far'} than"


def _spread(primary: GroupRatio) -> str:
    seeds = primary.interval90
    return f"; {seeds.low:.2f} to {seeds.high:.2f} over seeds" if seeds else ""


def _key_numbers(study: DriftStudy) -> list[tuple[str, str]]:
    verdict, primary = study.statistics.verdict, study.statistics.primary
    ratio = f"Ratio of drift, `{verdict.group}` to its control"
    return [
        *(
            [(ratio, "none: its weights were kept from moving")]
            if primary is None
            else [(ratio, f"{primary.rho:.2f}; 1 = alike"), *_luck(study, primary)]
        ),
        *[
            (_capital(b.outcome), _behaviour(b))
            for b in study.statistics.behaviours
            if not b.outcome.startswith(SIDE_RATES)
        ],
    ]


def _luck(study: DriftStudy, primary: GroupRatio) -> list[tuple[str, str]]:
    seeds, margin = study.statistics.num_seeds, study.statistics.verdict.margin
    return [
        (
            f"90 % interval over {seeds} seed{'s' * (seeds != 1)}",
            interval(primary.interval90)
            if primary.interval90
            else "none: it needs at least 2 seeds",
        ),
        (
            f"Margin, declared {when_declared(study)}",
            f"{margin:g}: {1 / margin:.2g} to {margin:g} counts as alike",
        ),
        ("Would chance give this ratio?", _chance(primary)),
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
