"""Does the answer on experts follow from its numbers, in every case?"""

from dataclasses import replace

import pytest

from driftmap.results.statistics import Caution
from driftmap.stats.experts.verdict import against_random, expert_verdict
from made_expert_studies import arms, around, contrasts, facts, findings


def verdict(of=None, differences=None, found=None, cautions=(), effects=None):
    made = findings()
    return expert_verdict(
        facts(),
        made.identified if found is None else found,
        arms() if of is None else of,
        contrasts() if differences is None else differences,
        made.effects if effects is None else effects,
        cautions,
    )


def without(of, name, *outcomes):
    """The same models with some outcomes of one left out."""
    return tuple(
        replace(
            arm, readings={n: r for n, r in arm.readings.items() if n not in outcomes}
        )
        if arm.name == name
        else arm
        for arm in of
    )


def test_enough_is_more_than_random_at_a_small_price():
    found = verdict()
    assert found.kind == "enough"
    assert found.sentence == (
        "With 12 of 40 experts tuned (17 % of all weights), chosen by gradient, the "
        "model refuses 95 % of held-out attacks on 40 requests, 0 % before; as many "
        "random experts of the same layers and traffic give 12 % (3 draws). Chosen "
        "minus random: "
        "+83 points (+71 to +95), p ≤ 0.0004. The price is within 0.1 nats and 10 "
        "points: the loss on ordinary text changes by +0.02 nats (-0.02 to +0.06); "
        "refusal of harmless requests by +5 points (+1 to +9)."
    )
    assert found.settles == ""


@pytest.mark.parametrize("price", [{"nats": 0.77}, {"over": 0.12}])
def test_a_price_that_may_be_beyond_the_margin_is_said(price):
    found = verdict(arms(**price))
    assert found.kind == "costly"
    assert "The price is not shown to stay within 0.1 nats and 10 points" in (
        found.sentence
    )


def test_a_price_at_the_margin_is_within_it():
    assert verdict(arms(nats=0.76 - 1e-9)).kind == "enough"


def test_an_unread_price_is_no_small_price():
    found = verdict(without(arms(), "gradient", "benign_nats", "over_refused"))
    assert found.kind == "unpriced"
    assert found.sentence.endswith("What it costs elsewhere was not read.")
    assert "--benign-path" in found.settles


def test_random_experts_that_do_as_well_take_the_claim_away():
    found = verdict(arms(random=0.9), contrasts(random=0.9))
    assert found.kind == "any experts"
    assert (
        "+5 points (-7 to +17), p ≤ 0.0004. Which experts are tuned is not shown"
        in (found.sentence)
    )


def test_without_random_experts_there_is_no_claim():
    no_random = tuple(arm for arm in arms() if arm.kind != "random")
    found = verdict(no_random)
    assert found.kind == "inconclusive"
    assert "no matched random experts were tuned" in found.sentence
    others = tuple(
        replace(arm, method="routing") if arm.kind == "random" else arm
        for arm in arms()
    )
    assert against_random(others[1], others, contrasts()) is None
    assert verdict(others).kind == "inconclusive"


def test_no_rise_is_said_before_anything_else():
    found = verdict(arms(gradient=0.03), contrasts(gradient=0.03, random=0.0))
    assert found.kind == "not enough"
    assert found.sentence.endswith("0 % before. That is not shown to be a rise.")
    assert "5 to 10" in found.settles


def test_a_blocking_caution_rules_an_answer_out():
    blocking = Caution(
        name="in-sample", sentence="Nothing is held out.", value=96.0, is_blocking=True
    )
    found = verdict(cautions=(blocking,))
    assert found.kind == "inconclusive"
    assert "(in-sample): Nothing is held out." in found.sentence
    assert verdict(cautions=(replace(blocking, is_blocking=False),)).kind == "enough"


def test_log_odds_stand_in_for_refusal_that_was_not_generated():
    odds = tuple(
        replace(arm, readings={n: r for n, r in arm.readings.items() if n != "refused"})
        for arm in arms()
    )
    difference = replace(
        contrasts()[0], outcome="refusal_log_odds", difference=around(11.6, 2.0)
    )
    found = verdict(odds, (difference,))
    assert found.kind == "enough"
    assert (
        "has refusal log-odds of 3.3 on 40 held-out attacks, -10.0 before; as many "
        "random experts of the same layers and traffic give -8.3 (3 draws). Chosen "
        "minus random: +11.60 nats (+9.60 to +13.60)" in found.sentence
    )


def test_routers_alone_are_not_called_experts():
    alone = tuple(
        replace(a, num_experts=0) if a.kind == "method" else a for a in arms()
    )
    said = verdict(alone).sentence
    assert said.startswith("With the routers aligned and no expert tuned, the model")


def test_a_ranking_alone_is_no_answer():
    found = verdict(of=())
    assert found.kind == "ranked"
    assert found.sentence == (
        "8 of 40 experts were ranked first by gradient. Nothing was tuned, so this is "
        "a ranking and no answer. Two halves of the prompts agree with Jaccard 0.71, "
        "chance 0.09. Taking them away changes refusal log-odds by -2.40 nats (-2.65 "
        "to -2.15); less what as many random ones do: -2.40 nats (-2.70 to -2.10), p "
        "0.048."
    )


def test_a_ranking_is_never_joined_to_the_effect_of_other_experts():
    made = findings()
    other = replace(made.effects, effects=made.effects.effects[1:])
    assert "Taking them away" not in verdict(of=(), effects=other).sentence
