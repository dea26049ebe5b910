"""Why might averages of traces mislead?"""

from collections.abc import Iterator, Sequence

from driftmap.results.statistics import Caution
from driftmap.results.trace_kinds import EXACT, Outcome
from driftmap.results.trace_study import EstimateCheck, FactCounts
from driftmap.results.traces import RoleEffects
from driftmap.stats.trace_verdict import amount

FEW_SUBJECTS = 20
SMALL_PROBABILITY = 0.05
GOOD_CORRELATION = 0.8


def trace_cautions(
    counts: FactCounts,
    effects: Sequence[RoleEffects],
    checks: Sequence[EstimateCheck],
    outcome: Outcome,
) -> tuple[Caution, ...]:
    """Name what weakens averages by role.

    Args:
        counts: What became of the facts.
        effects: Averages, one for each kind; empty where one fact was traced.
        checks: Estimates beside exact cells.
        outcome: What is read of the answer.
    """
    found = list(_of_facts(counts))
    if effects:
        found += _of_effects(effects[0], outcome)
        if counts.num_subjects < FEW_SUBJECTS:
            found.append(_few(counts))
    found += [_weak(check) for check in checks if _is_weak(check)]
    return tuple(found)


def _of_facts(counts: FactCounts) -> Iterator[Caution]:
    judged = counts.num_known + counts.num_unknown
    if counts.num_unknown > judged / 2:
        yield _caution(
            "unknown",
            f"The model does not know {counts.num_unknown:,} of {judged:,} facts: its "
            "first choice is another answer. They are left out, so averages speak of "
            "the facts that it knows.",
            counts.num_unknown / judged,
        )
    left_out = sum(counts.left_out.values())
    if left_out:
        why = "; ".join(f"{num:,} ({why})" for why, num in counts.left_out.items())
        yield _caution("left-out", f"Facts not traced: {why}.", float(left_out))
    one_token = counts.num_one_token / max(1, counts.num_averaged)
    if one_token >= 0.3:
        yield _caution(
            "one-token",
            f"{_share_of_subjects(counts)} a single token. Putting back its state at "
            "the bottom takes all of the noise away, so the effect of the lowest "
            "layers is large by construction.",
            one_token,
        )


def _of_effects(main: RoleEffects, outcome: Outcome) -> Iterator[Caution]:
    total, control = main.total_effect, main.control_effect
    if outcome == "prob" and 0 < total.estimate < SMALL_PROBABILITY:
        yield _caution(
            "small-effect",
            f"Disturbing the subject takes only {amount(total.estimate, outcome)}: "
            "shares of so little are unsteady.",
            total.estimate,
        )
    if control is None:
        yield _caution(
            "no-control",
            "The same noise on words outside the subject was not tried, so nothing "
            "says that the subject matters more than other words.",
            0.0,
        )
    elif control.estimate >= total.estimate / 2 > 0:
        yield _caution(
            "strong-control",
            "The same noise outside the subject takes "
            f"{amount(control.estimate, outcome)}, more than half of what it takes on "
            "the subject. Either part of the effect is that of noise anywhere, or "
            "those words, such as the relation, are needed for the answer too.",
            control.estimate / total.estimate,
        )
    if main.num_negative > 0.05 * main.num_facts:
        yield _caution(
            "negative",
            f"In {main.num_negative:,} of {main.num_facts:,} facts noise makes the "
            "answer likelier. They count in all averages.",
            main.num_negative / main.num_facts,
        )
    if main.method not in EXACT:
        yield _caution(
            "estimated",
            "Effects are estimated from gradients and not traced. The estimate fails "
            "where the outcome saturates and where direct and indirect parts cancel.",
            0.0,
        )


def _share_of_subjects(counts: FactCounts) -> str:
    if counts.num_averaged == 1:
        return "The subject is"
    share = counts.num_one_token / counts.num_averaged
    return f"{100 * share:.0f} % of the subjects are"


def _few(counts: FactCounts) -> Caution:
    return _caution(
        "few-subjects",
        f"Intervals draw {counts.num_subjects} subjects anew; with so few they are "
        "too narrow.",
        float(counts.num_subjects),
    )


def _is_weak(check: EstimateCheck) -> bool:
    return check.pearson.estimate < GOOD_CORRELATION


def _weak(check: EstimateCheck) -> Caution:
    return _caution(
        "weak-estimate",
        f"Estimated and exact cells of kind {check.kind} correlate at only "
        f"{check.pearson.estimate:.2f} ({check.pearson.low:.2f} to "
        f"{check.pearson.high:.2f}).",
        check.pearson.estimate,
    )


def _caution(name: str, sentence: str, value: float) -> Caution:
    return Caution(name=name, sentence=sentence, value=value, is_blocking=False)
