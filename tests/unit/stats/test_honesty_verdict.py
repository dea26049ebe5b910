"""Does the answer on honesty readings follow from its numbers, and hold them?"""

from dataclasses import replace

import pytest

from driftmap.stats.honesty_verdict import honesty_cautions, honesty_verdict
from made_honesty_studies import (
    band,
    between,
    counts,
    evidence,
    result,
    steered,
    steering,
    transfer,
)


def verdict(**changes):
    return honesty_verdict(result(**changes))


def names(**changes):
    return [caution.name for caution in honesty_cautions(result(**changes))]


def test_an_instruction_that_is_read_and_no_truth():
    found = verdict()
    assert found.kind == "read"
    assert found.sentence == (
        "On 40 true statements that took no part, layers 2 to 4 tell the honest from "
        "the dishonest instruction in 97 % (94 to 100) of pairs; where labels mean "
        "nothing, the same method reaches 51 % (48 to 54). One state alone is on the "
        "right side in 90 % (87 to 93). It does not tell true from false statements "
        "without instructions: AUROC 0.52 (0.44 to 0.60), chance 0.50."
    )


def test_truth_is_claimed_only_where_its_interval_lies_above_chance():
    assert "True against false statements, without instructions: AUROC 0.70" in (
        verdict(transfers=(transfer(auroc=0.7),)).sentence
    )
    assert verdict(transfers=()).sentence.endswith("90 % (87 to 93).")


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({"pair_accuracy": between(0.52)}, "chance"),
        ({"selectivity": between(0.02), "control_accuracy": between(0.95)},
         "not selective"),
    ],
)  # fmt: skip
def test_accuracy_that_shuffled_labels_or_coins_reach_is_no_reading(changed, kind):
    assert verdict(band=band(**changed)).kind == kind


def test_few_statements_carry_no_answer():
    few = counts(statements={"test": 4})
    assert verdict(counts=few).kind == "inconclusive"
    assert verdict(counts=few).sentence.startswith("4 held-out statements are too few")


def test_no_doubt_without_a_reason():
    assert names() == []


def test_doubts_about_evidence():
    assert names(counts=counts(statements={"test": 19})) == ["few-statements"]
    single = band(accuracy=between(0.59))
    assert names(band=single) == ["single-states"]
    blind = tuple(replace(one, random_accuracy=between(0.9, 0.1)) for one in evidence())
    assert names(evidence=blind) == ["random-directions"]
    learnt = tuple(replace(one, memorised=0.95) for one in evidence())
    assert names(evidence=learnt) == ["memorised"]


def test_doubts_about_transfers():
    assert names(transfers=(transfer("other_wording", 0.55),)) == ["wording"]
    both = (transfer("true_against_false", 0.8), transfer("negated", 0.4))
    assert names(transfers=both) == ["negation"]


def test_steering_that_blind_directions_match_is_doubted():
    blind = steered(4.0, -2.0, "random", 9)
    found = honesty_cautions(result(steering=(*steering(), blind)))
    assert [caution.name for caution in found] == ["steering"]
    assert "by +4.80 nats; blind directions of equal length move them by -8.00" in (
        found[0].sentence
    )


def test_steering_that_breaks_the_model_is_said_to():
    broken = tuple(
        replace(point, perplexity=8 * (1 + abs(point.strength))) for point in steering()
    )
    assert names(steering=broken) == ["steering-cost"]
