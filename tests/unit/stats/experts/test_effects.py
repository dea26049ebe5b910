"""Effects of experts: paired with the untouched model, beside random sets."""

import numpy as np
import pytest

from driftmap.core.errors import MeasureError
from driftmap.core.places import ExpertPlace
from driftmap.results.expert_effects import ExampleOutcomes, ExpertEffects
from driftmap.results.plain import from_plain, to_plain
from driftmap.stats.experts.effects import (
    Treated,
    dose_curve,
    estimate_check,
    expert_effect,
    null_p,
)
from driftmap.stats.experts.paired import Chance

EXPERT = ExpertPlace(path="layers.1.mlp.experts", layer=1, expert=3)
CHANCE = Chance(seed=0, num_resamples=200)


def outcomes(odds, nats=(), ids="abcd"):
    return ExampleOutcomes(
        unsafe_ids=tuple(ids),
        refusal_log_odds=tuple(odds),
        benign_ids=tuple(f"b{i}" for i in range(len(nats))),
        benign_nats=tuple(nats),
    )


INTACT = outcomes([1.0, 2.0, 3.0, 4.0], nats=[1.0, 3.0])


def treated(odds, drawn=(), **more):
    return Treated(
        name=EXPERT.key,
        method="gradient",
        action="ablate",
        experts=(EXPERT,),
        changed=outcomes(odds, **more),
        drawn=tuple(outcomes(one) for one in drawn),
    )


def test_an_effect_is_the_mean_of_paired_changes():
    found = expert_effect(INTACT, treated([0, 0, 3, 4]), "refusal_log_odds", CHANCE)
    assert (found.intact, found.change.estimate) == (2.5, -0.75)
    assert found.change.low < found.change.estimate < found.change.high <= 0
    assert found.null is None
    assert found.change.num == 4


def test_a_model_like_the_untouched_one_has_no_effect_in_any_outcome():
    same = treated([1, 2, 3, 4], nats=[1.0, 3.0])
    for outcome in ("refusal_log_odds", "benign_nats"):
        change = expert_effect(INTACT, same, outcome, CHANCE).change
        assert (change.low, change.estimate, change.high) == (0, 0, 0)


def test_random_sets_stand_beside_an_effect():
    own = treated([-1, 0, 1, 2], drawn=[[1, 2, 3, 3], [1, 2, 3, 4], [5, 6, 7, 8]])
    null = expert_effect(INTACT, own, "refusal_log_odds", CHANCE).null
    assert null.changes == (-0.25, 0.0, 4.0)
    assert null.p_value == 0.5  # (1 + 1) / (1 + 3): the last one changes more
    assert null.difference.estimate == pytest.approx(-2 - 3.75 / 3)


def test_a_null_as_large_either_way_counts_against_an_effect():
    assert null_p(1.0, np.array([-1.0, 0.5])) == pytest.approx(2 / 3)
    assert null_p(1.0, np.zeros(19)) == 0.05


def test_readings_of_other_examples_are_refused():
    other = treated([1, 2, 3, 4], ids="abce")
    with pytest.raises(MeasureError, match="refusal_log_odds: the changed model was"):
        expert_effect(INTACT, other, "refusal_log_odds", CHANCE)


def test_a_dose_curve_is_in_order_of_k():
    effects = {
        k: expert_effect(INTACT, treated([1 - k, 2, 3, 4]), "refusal_log_odds", CHANCE)
        for k in (5, 0, 2)
    }
    curve = dose_curve(effects)
    assert curve.doses == (0, 2, 5)
    assert [e.change.estimate for e in curve.effects] == [0, -0.5, -1.25]
    assert (curve.method, curve.action) == ("gradient", "ablate")


def test_a_dose_curve_of_nothing_or_of_several_outcomes_is_refused():
    both = {
        k: expert_effect(INTACT, treated([1, 2, 3, 4], nats=[1, 3]), outcome, CHANCE)
        for k, outcome in enumerate(("refusal_log_odds", "benign_nats"))
    }
    for effects, num in (({}, 0), (both, 2)):
        with pytest.raises(MeasureError, match=f"a dose curve of {num} kinds"):
            dose_curve(effects)


def test_estimates_are_compared_by_rank_alone():
    real = np.array([0.3, -2.0, 0.1, 0.2])
    assert estimate_check(np.exp(real), real).tau == pytest.approx(1)
    assert estimate_check(-real, real).tau == pytest.approx(-1)
    assert estimate_check(np.zeros(4), real).tau is None
    assert estimate_check(real, real).num_experts == 4
    with pytest.raises(MeasureError, match="3 foreseen and 4 real changes"):
        estimate_check(real[:3], real)


def test_effects_go_to_a_file_and_come_back():
    own = treated([-1, 0, 1, 2], drawn=[[1, 2, 3, 3], [1, 2, 3, 4]])
    effect = expert_effect(INTACT, own, "refusal_log_odds", CHANCE)
    whole = ExpertEffects(
        intact=INTACT, effects=(effect,), doses=(dose_curve({1: effect}),)
    )
    assert from_plain(ExpertEffects, to_plain(whole)) == whole
