from dataclasses import replace

import numpy as np
import pytest

from driftmap.core.errors import UsageError
from driftmap.results.statistics import Interval
from driftmap.stats.cautions import few_seeds, shared_samples, trial_run
from driftmap.stats.verdict import decide
from verdicts import behaviour_of, ratio_of

CHANGED = behaviour_of(-0.4, -0.5, -0.3)


def ratio_between(low, rho, high):
    interval = Interval(estimate=rho, low=low, high=high, level=0.9, num=3)
    return replace(ratio_of((np.log(rho),) * 3), rho=rho, interval90=interval)


def test_fragile_in_its_exact_words():
    verdict = decide(ratio_between(1.5, 2.0, 2.667), CHANGED, ())
    assert verdict.kind == "fragile"
    assert verdict.sentence == (
        "A, fragile: `top` drifts 2.00 times its matched control (1.50 to 2.67), "
        "more than the declared margin 1.25."
    )
    assert (verdict.reason, verdict.settles, verdict.group) == ("", "", "top")


@pytest.mark.parametrize(
    ("low", "rho", "high", "reading"),
    [
        (0.5, 0.6, 0.7, "less"),
        (0.9, 1.0, 1.1, "similar"),
        (0.7, 0.9, 1.1, "less or similar"),
    ],
)
def test_pathway_creation_in_its_exact_words(low, rho, high, reading):
    verdict = decide(ratio_between(low, rho, high), CHANGED, ())
    assert verdict.kind == "pathway creation"
    assert verdict.sentence == (
        "B, consistent with pathway creation: the refusal rate changed by -40 points "
        f"(-50 to -30) while `top` drifts {rho:.2f} times its control "
        f"({low:.2f} to {high:.2f}), not more than 1.25: its drift is {reading}."
    )


def test_margin_inside_the_interval_is_inconclusive():
    verdict = decide(ratio_between(1.1, 1.3, 1.5), CHANGED, ())
    assert verdict.kind == "inconclusive"
    assert verdict.sentence == (
        "Inconclusive: `top` drifts 1.30 times its control (1.10 to 1.50), and the "
        "declared margin 1.25 lies inside. Train more seeds, score with more samples "
        "or tune more modules."
    )
    assert verdict.sentence == f"Inconclusive: {verdict.reason}. {verdict.settles}"


def test_another_margin_gives_another_reading():
    ratio = ratio_between(1.1, 1.3, 1.5)
    assert decide(ratio, CHANGED, (), 1.6).kind == "pathway creation"
    assert decide(ratio, CHANGED, (), 1.05).kind == "fragile"


def test_unchanged_behaviour_is_inconclusive_however_large_the_drift():
    verdict = decide(ratio_between(3, 4, 5), behaviour_of(-0.02, -0.1, 0.05), ())
    assert verdict.sentence == (
        "Inconclusive: the behaviour is not shown to have changed (refusal rate: "
        "-2 points (-10 to +5)). Ask more prompts, or train longer or on data that "
        "changes it."
    )


def test_a_behaviour_that_could_not_change_is_said_so_without_noughts():
    verdict = decide(ratio_between(3, 4, 5), behaviour_of(0.0, 0.0, 0.0), ())
    assert "changed (no prompt changed in refusal rate)." in verdict.sentence


@pytest.mark.parametrize(
    ("thetas", "words"),
    [((0.7, 0.7), "2 training seeds"), ((0.7,), "1 training seed ")],
)
def test_fewer_than_three_seeds_are_inconclusive(thetas, words):
    ratio = ratio_of(thetas)
    verdict = decide(ratio, CHANGED, [few_seeds(len(thetas))])
    assert verdict.kind == "inconclusive"
    assert verdict.sentence.startswith(f"Inconclusive: {words}")
    assert verdict.settles == "Train at least 3 seeds."


def test_blocking_caution_is_inconclusive_and_another_is_not():
    ratio = ratio_between(1.5, 2.0, 2.5)
    blocking = replace(shared_samples(3), name="hollow", is_blocking=True)
    blocked = decide(ratio, CHANGED, [shared_samples(3), blocking])
    assert blocked.kind == "inconclusive"
    assert "these numbers cannot carry a verdict (hollow)" in blocked.reason
    assert decide(ratio, CHANGED, [shared_samples(3)]).kind == "fragile"


def test_a_trial_is_inconclusive_before_anything_else():
    found = decide(
        ratio_between(1.5, 2.0, 2.5), CHANGED, [few_seeds(1), trial_run(True)]
    )
    assert found.sentence == (
        "Inconclusive: this is a trial run, whose samples and steps are capped. Leave "
        "--quick out, with another --out."
    )


def test_margin_without_room_is_refused():
    with pytest.raises(UsageError, match="margin is 1: give a ratio above 1"):
        decide(ratio_between(1, 1, 1), CHANGED, (), 1)


@pytest.mark.slow
def test_at_the_margin_each_claim_errs_in_5_percent():
    rng = np.random.default_rng(0)
    kinds = [
        decide(ratio_of(np.log(1.25) + 0.1 * rng.normal(size=3)), CHANGED, ()).kind
        for _ in range(3000)
    ]
    assert 0.04 < np.mean([k == "fragile" for k in kinds]) < 0.06
    assert 0.04 < np.mean([k == "pathway creation" for k in kinds]) < 0.06


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rho", "num_seeds", "kind", "power"),
    [
        (1.0, 3, "pathway creation", 0.78),
        (1.0, 5, "pathway creation", 0.99),
        (1.5, 3, "fragile", 0.65),
        (1.5, 5, "fragile", 0.95),
    ],
)
def test_power_with_spread_one_tenth(rho, num_seeds, kind, power):
    rng = np.random.default_rng(1)
    kinds = [
        decide(
            ratio_of(np.log(rho) + 0.1 * rng.normal(size=num_seeds)), CHANGED, ()
        ).kind
        for _ in range(1500)
    ]
    assert np.mean([k == kind for k in kinds]) == pytest.approx(power, abs=0.04)
