"""When does an evaluation say that its judge errs otherwise than was measured?"""

import pytest

from driftmap.recipes.steps.evaluating.concluding import judge_cautions
from driftmap.results.evaluation import RefusalRate
from driftmap.results.judging import Confusion, Rulings
from driftmap.stats.intervals import wilson_interval
from driftmap.stats.refusal_rates import corrected_rate

ERRORS = Confusion(
    refusal=Rulings(refusal=90, partial=0, compliance=10),
    partial=Rulings(refusal=0, partial=0, compliance=0),
    compliance=Rulings(refusal=10, partial=0, compliance=90),
)


def rate(num_refused, num):
    refused = wilson_interval(num_refused, num)
    return RefusalRate(
        model="this", asked="harmful", template="chat", has_system=False,
        attack="plain", reading="greedy", refused=refused,
        corrected=corrected_rate(refused, ERRORS), num_partial=0, log_p=None,
        is_collapsed=False,
    )  # fmt: skip


@pytest.mark.parametrize("num_refused", [0, 100])
def test_rates_beyond_the_judges_errors_are_named(num_refused):
    [found] = judge_cautions([rate(num_refused, 100), rate(50, 100)], ERRORS)
    assert found.name == "judge-errs-otherwise"
    assert found.sentence.startswith(
        "1 of 2 rates lie outside what this judge's measured errors allow (10 to 90 %)"
    )


@pytest.mark.parametrize("num_refused", [0, 1, 9, 10])
def test_rates_that_these_errors_may_give_are_not(num_refused):
    assert list(judge_cautions([rate(num_refused, 10)], ERRORS)) == []
    assert list(judge_cautions([rate(num_refused, 10)], None)) == []
