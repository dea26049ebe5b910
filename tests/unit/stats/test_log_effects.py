import numpy as np
import pytest

from driftmap.results.table import Table
from driftmap.stats.log_cautions import log_cautions, log_gaps
from driftmap.stats.log_effects import (
    checked_comparisons,
    last_comparisons,
    logged_effects,
)
from driftmap.store.drift_logs import import_comparisons, import_drift_logs
from made_logs import (
    comparison,
    empty,
    summary,
    write_comparisons,
    write_log,
    write_logs,
)


@pytest.fixture
def logs(tmp_path):
    return import_drift_logs(write_logs(tmp_path / "logs"))


def logged(folder, *steps):
    for step, metrics in steps:
        write_log(folder, step, metrics)
    return import_drift_logs(folder)


def one(effects, **equal):
    (row,) = effects.where(**equal).rows()
    return row


def test_golden_by_hand(logs):
    effects = logged_effects(logs)
    last = {"step": 20, "metric": "absolute_change", "group": "safety_set_diff"}
    against_utility = one(effects, **last, baseline="utility")
    assert against_utility["cohens_d"] == 1.0
    assert against_utility["label"] == "large"
    assert against_utility["mean_difference"] == 2.0
    assert one(effects, **last, baseline="random")["cohens_d"] == 1.5
    # Half the means and half the spread: the same d, half the difference.
    first = one(effects, **last | {"step": 10}, baseline="utility")
    assert (first["cohens_d"], first["mean_difference"]) == (1.0, 1.0)


def test_unequal_spreads_are_pooled(tmp_path):
    change = {"top": summary(10.0, 3.0), "utility": summary(5.0, 4.0)}
    effects = logged_effects(logged(tmp_path, (1, {"absolute_change": change})))
    # sqrt((9 + 16) / 2) = 3.5355
    assert one(effects, group="top")["cohens_d"] == pytest.approx(5 / 12.5**0.5)


def test_every_group_meets_utility_and_random_in_every_metric_and_step(logs):
    effects = logged_effects(logs)
    pairs = {
        (r["step"], r["metric"], r["group"], r["baseline"]) for r in effects.rows()
    }
    both = {
        (step, "absolute_change", group, baseline)
        for step in (10, 20)
        for group in ("safety_set_diff", "utility", "random")
        for baseline in ("utility", "random")
        if group != baseline
    }
    one_alone = {
        (step, "cosine_similarity", "safety_set_diff", "utility") for step in (10, 20)
    }
    assert pairs == both | one_alone


def test_turning_a_pair_round_turns_the_sign(logs):
    effects = logged_effects(logs).where(metric="absolute_change", step=20)
    there = one(effects, group="utility", baseline="random")
    back = one(effects, group="random", baseline="utility")
    assert there["cohens_d"] == -back["cohens_d"] == 0.5
    assert there["label"] == back["label"] == "medium"


def test_a_common_scale_changes_no_d(tmp_path):
    def scaled(scale):
        change = {
            "a": summary(3.0 * scale, 1.0 * scale),
            "utility": summary(2.0 * scale, 2.0 * scale),
        }
        folder = tmp_path / str(scale)
        return logged_effects(logged(folder, (1, {"absolute_change": change})))

    small, large = scaled(1e-9), scaled(1e9)
    assert small["cohens_d"] == pytest.approx(large["cohens_d"])


def test_matched_is_the_control_of_one_group(tmp_path):
    names = ("difference", "top", "matched")
    change = {name: summary(1.0, 1.0) for name in names}
    effects = logged_effects(logged(tmp_path, (1, {"absolute_change": change})))
    assert [(r["group"], r["baseline"]) for r in effects.rows()] == [
        ("difference", "matched")
    ]


def test_an_empty_group_has_no_d(tmp_path):
    change = {"top": empty(), "utility": summary(1.0, 1.0)}
    logs = logged(tmp_path, (1, {"absolute_change": change}))
    row = one(logged_effects(logs), group="top")
    assert (row["undefined"], row["label"]) == ("`top` is empty", "")
    assert np.isnan(row["cohens_d"])
    assert any("`top` holds nothing (count 0)" in gap for gap in log_gaps(logs))
    assert not len(last_comparisons(logs))


def test_two_groups_that_do_not_vary_have_no_d(tmp_path):
    still = summary(0.0, 0.0, high=0.0)
    change = {"top": still, "utility": still}
    logs = logged(tmp_path, (0, {"absolute_change": change}))
    row = one(logged_effects(logs), group="top")
    assert row["undefined"] == "neither varies"
    assert np.isnan(row["cohens_d"])


def test_without_a_baseline_there_is_nothing_to_compare(tmp_path):
    logs = logged(tmp_path, (1, {"absolute_change": {"mine": summary(1.0, 1.0)}}))
    effects = logged_effects(logs)
    assert len(effects) == len(last_comparisons(logs)) == 0
    assert "cohens_d" in effects.columns
    assert log_gaps(logs) == (
        "no group is called one of `utility`, `random`, `matched`: there is nothing to "
        "compare with",
    )


def test_comparisons_are_checked_against_the_step_they_repeat(logs, tmp_path):
    pairs = {
        "absolute_change": {
            "safety_set_diff_vs_utility": comparison((2.5, 1.0), (1.5, 1.0), 1.0),
            "random_vs_utility": comparison((2.0, 2.0), (3.0, 2.0), -0.4),
            "other_vs_utility": comparison((4.0, 1.0), (3.0, 1.0), 1.0),
            "still_vs_utility": comparison((4.0, 0.0), (3.0, 0.0), 0.0),
        }
    }
    found = checked_comparisons(
        logs, import_comparisons(write_comparisons(tmp_path, pairs))
    )
    assert [(c.group, c.step, c.published, c.computed, c.agrees) for c in found] == [
        ("safety_set_diff", 10, 1.0, 1.0, True),
        ("random", 20, -0.4, -0.5, False),
        ("other", None, 1.0, 1.0, True),
        ("still", None, 0.0, None, False),
    ]


def test_comparisons_of_logs_agree_with_those_logs(logs):
    found = checked_comparisons(logs, last_comparisons(logs))
    assert {c.step for c in found} == {20}
    assert all(c.agrees for c in found)


def test_what_is_missing_is_said(tmp_path):
    here = {"top": summary(1.0, 1.0), "utility": summary(1.0, 1.0)}
    logs = logged(
        tmp_path,
        (1, {"a": here, "b": here}),
        (2, {"a": {"top": here["top"]}}),
        (3, {"a": here, "c": {"random": here["top"] | {"count": 7}}}),
        (4, {"c": {"random": here["top"]}}),
    )
    assert log_gaps(logs) == (
        "`a` is logged only at steps 1, 2, 3",
        "`a` holds `utility` only at steps 1, 3",
        "`a` says nothing of `random`",
        "`b` is logged only at step 1",
        "`b` says nothing of `random`",
        "`c` is logged only at steps 3, 4",
        "`c` says nothing of `top`",
        "`c` says nothing of `utility`",
        "`random` holds 7 to 100 in `c`: the steps do not speak of the same weights",
    )


def names(logs):
    return [caution.name for caution in log_cautions(logs)]


def test_whole_logs_of_like_groups_need_no_caution(logs):
    assert log_gaps(logs) == (
        "`cosine_similarity` says nothing of `random`",
    )  # fmt: skip
    assert names(logs) == []


def change_of(maxima):
    return {
        name: summary(0.001, 0.01, high=high)
        for name, high in zip(("a", "b", "utility", "random"), maxima, strict=True)
    }


def test_changes_of_16_bit_weights_are_recognised(tmp_path):
    few = logged(tmp_path / "few", (1, {"absolute_change": change_of(
        [17 / 4096, 129 / 16384, 873 / 131072, 3 / 128])}))  # fmt: skip
    (caution,) = log_cautions(few)
    assert (caution.name, caution.value, caution.is_blocking) == (
        "half-precision", 10.0, True,
    )  # fmt: skip
    assert "The 4 different greatest changes have at most 10 binary" in caution.sentence
    many = change_of([17 / 4096, 129 / 16384, 873 / 131072, 0.0234567])
    assert names(logged(tmp_path / "many", (1, {"absolute_change": many}))) == []


def test_groups_that_mostly_stand_still_are_named(tmp_path):
    change = {
        "a": summary(0.1, 0.3) | {"q25": 0.0, "median": 0.0, "q75": 0.0},
        "utility": summary(0.1, 0.3),
    }
    (caution,) = log_cautions(logged(tmp_path, (1, {"absolute_change": change})))
    assert caution.name == "immobile"
    assert caution.sentence.startswith("At least three quarters of `a` changed by exa")


def test_relative_change_that_speaks_against_absolute_change_is_named(tmp_path):
    def of(mean):
        return {"a": summary(1.0, 1.0), "random": summary(mean, 1.0)}

    told = logged(
        tmp_path / "far", (1, {"absolute_change": of(1.0), "relative_change": of(8.0)})
    )
    (caution,) = log_cautions(told)
    assert caution.value == pytest.approx(8.0)
    assert caution.sentence.startswith(
        "`relative_change` says that `random` moved 8 times as far as `a`, "
        "`absolute_change` says 1 times."
    )
    near = {"absolute_change": of(1.0), "relative_change": of(1.05)}
    assert names(logged(tmp_path / "near", (1, near))) == []
    zero = {"absolute_change": of(1.0), "relative_change": of(0.0)}
    assert names(logged(tmp_path / "zero", (1, zero))) == []


def test_any_table_of_logs_is_understood():
    row = {"step": 3, "metric": "mine", "group": "utility", **summary(1.0, 1.0)}
    logs = Table.from_rows([row])
    assert log_cautions(logs) == ()
    assert not len(logged_effects(logs))
