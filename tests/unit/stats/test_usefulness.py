import math
import re

import numpy as np
import pytest
from scipy import stats

from driftmap.core.errors import MeasureError
from driftmap.results.perplexity import PerplexityReading
from driftmap.results.utility import TaskReading
from driftmap.stats.usefulness import (
    mean_score,
    perplexity_ratios,
    perplexity_score,
    task_changes,
    task_score,
)


def task(values, *, name="t", ids=None, metric="acc"):
    return TaskReading(
        task=name,
        metric=metric,
        num_shots=0,
        num_available=1000,
        item_ids=tuple(ids or map(str, range(len(values)))),
        values=np.array(values, dtype=np.float64),
        chance=0.25,
    )


def windows(nll, *, name="wiki", window=11, num_bytes=300):
    return PerplexityReading(
        text=name,
        window=window,
        num_dropped=2,
        num_bytes=num_bytes,
        nll_nats=np.array(nll),
    )


def right(count, num):
    return [1.0] * count + [0.0] * (num - count)


def test_standard_errors_are_those_of_200_items_and_of_six_tasks():
    scores = [task_score("this", task(right(100, 200), name=f"t{n}")) for n in range(6)]
    assert scores[0].standard_error == pytest.approx(0.0354, abs=1e-4)
    assert mean_score("this", scores).standard_error == pytest.approx(0.0145, abs=1e-4)
    assert mean_score("this", scores).mean == 0.5
    assert scores[0].score.high - 0.5 == pytest.approx(0.0686, abs=1e-3)


def test_scores_that_are_no_rates_have_student_s_interval():
    values = [0.2, 0.5, 0.9, 0.4]
    found = task_score("this", task(values, metric="f1")).score
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_one_item_has_no_error_and_spoils_the_mean_s():
    single = task_score("this", task([0.3], metric="f1"))
    assert (single.standard_error, single.score.low) == (None, 0.3)
    both = mean_score("this", [single, task_score("this", task([1, 0, 1]))])
    assert both.standard_error is None


def test_models_are_paired_by_item():
    rng = np.random.default_rng(0)
    before = (rng.random(80) < 0.6).astype(float)
    after = before.copy()
    after[:6] = 1 - after[:6]
    (found,) = task_changes([task(after)], [task(before)])
    lost, gained = int(before[:6].sum()), int(6 - before[:6].sum())
    assert (found.num_lost, found.num_gained, found.num_items) == (lost, gained, 80)
    assert found.change.estimate == pytest.approx((gained - lost) / 80)
    paired = stats.ttest_rel(after, before)
    ends = paired.confidence_interval(0.95)
    assert (found.change.low, found.change.high) == pytest.approx((ends.low, ends.high))
    assert found.p_value == pytest.approx(stats.binomtest(lost, 6).pvalue)
    # Most items are the same: the difference is surer than the two scores.
    assert found.standard_error < 0.6 * task_score("this", task(after)).standard_error


def test_a_model_compared_with_itself_has_not_changed():
    same = task(right(3, 9))
    (found,) = task_changes([same], [same])
    assert (found.change.low, found.change.estimate, found.change.high) == (0, 0, 0)
    assert (found.p_value, found.p_adjusted) == (1.0, 1.0)


def test_p_values_are_corrected_for_the_tasks_that_have_one():
    before = [task(right(0, 10), name=n) for n in "abc"]
    before.insert(1, task([0.1, 0.2], name="f", metric="f1"))
    after = [task(right(k, 10), name=n) for n, k in zip("abc", (10, 7, 2), strict=True)]
    after.insert(1, task([0.3, 0.2], name="f", metric="f1"))
    found = task_changes(after, before)
    raw = [2 / 2**10, 2 / 2**7, 0.5]
    assert [c.p_value for c in found] == pytest.approx([raw[0], None, *raw[1:]])
    expected = [3 * raw[0], 1.5 * raw[1], raw[2]]
    assert [c.p_adjusted for c in found if c.p_adjusted] == pytest.approx(expected)
    assert (found[1].num_gained, found[1].p_adjusted) == (None, None)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (task([1, 0], ids="bc"), "t: two models cannot be compared on other items"),
        (task([1, 0, 1]), "t: two models cannot be compared on other items"),
        (task([1, 0], ids="ab", metric="f1"), "t: two models cannot be compared on"),
        (task([1, 0], name="u"), "two models are compared on other tasks"),
    ],
)
def test_other_items_are_no_pairs(other, said):
    with pytest.raises(MeasureError, match=re.escape(said)):
        task_changes([task([1, 0], ids="ab")], [other])


def test_perplexity_has_an_interval_over_windows():
    nll = np.array([2.0, 2.5, 2.2])
    found = perplexity_score("this", windows(nll))
    ends = stats.ttest_1samp(nll, 0).confidence_interval(0.95)
    assert found.perplexity == pytest.approx(math.exp(nll.mean()))
    assert found.interval.low == pytest.approx(math.exp(ends.low))
    assert found.interval.high == pytest.approx(math.exp(ends.high))
    assert (found.num_windows, found.num_predicted, found.num_dropped) == (3, 30, 2)
    assert perplexity_score("this", windows([2.0])).interval is None


def test_perplexities_are_compared_window_by_window():
    one, other = np.array([2.0, 5.0, 3.0]), np.array([1.9, 4.8, 3.0])
    (found,) = perplexity_ratios({"wiki": windows(one)}, {"wiki": windows(other)})
    assert found.ratio == pytest.approx(math.exp(0.1))
    ends = stats.ttest_rel(one, other).confidence_interval(0.95)
    assert found.interval.high == pytest.approx(math.exp(ends.high))


def test_windows_of_other_tokens_are_not_compared():
    mine = {"wiki": windows([2.0, 3.0])}
    assert perplexity_ratios(mine, {"wiki": windows([2.0, 3.0], window=7)}) == ()
    assert perplexity_ratios(mine, {"wiki": windows([2.0, 3.0], num_bytes=9)}) == ()
    assert perplexity_ratios(mine, {"news": windows([2.0, 3.0], name="news")}) == ()
