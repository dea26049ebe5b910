"""Which training runs are there, and do parts hold one another?"""

from itertools import pairwise

import numpy as np
import pytest

from driftmap.core.errors import UsageError
from driftmap.recipes.freezing_options import (
    ComparingOptions,
    FreezePlan,
    FreezingOptions,
)
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
)
from driftmap.recipes.steps.freezing.contrasting import (
    contrasts_of,
    curve_of,
    lost_of,
)
from driftmap.recipes.steps.freezing.parts import part_of
from driftmap.recipes.steps.freezing.planning import arms_of
from driftmap.results.freeze_study import BEFORE, MEAN, REFUSAL
from driftmap.results.table import Table
from driftmap.tune.settings import TuningSettings

PROMPTS = "requests to refuse"


def plan(*shares, seeds=2, rescore="ends"):
    return FreezePlan(
        scoring=ScoringOptions(),
        groups=GroupOptions(),
        freezing=FreezingOptions(shares=shares, rescore=rescore),
        tuning=TuningSettings(),
        evaluation=EvaluationOptions(),
        comparing=ComparingOptions(seeds=seeds),
        is_trial=False,
    )


def test_every_share_has_a_run_of_the_group_and_one_of_its_control():
    labels = [arm.label for arm in arms_of(plan(1.0, 0.25))]
    assert labels == [
        "free-seed-0", "group-0.25-seed-0", "matched-0.25-seed-0", "group-1-seed-0",
        "matched-1-seed-0", "free-seed-1", "group-0.25-seed-1", "matched-0.25-seed-1",
        "group-1-seed-1", "matched-1-seed-1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("shares", "declared"),
    [((0.0, 0.25, 0.5, 0.75, 1.0), 0.5), ((0.4, 0.1), 0.4), ((0.9, 0.6), 0.6)],
)
def test_the_declared_share_is_the_largest_up_to_one_half(shares, declared):
    assert plan(*shares).freezing.declared_share == declared


@pytest.mark.parametrize(
    ("rescore", "shares"),
    [("none", ()), ("ends", (0.0, 1.0)), ("all", (0.0, 0.5, 1.0))],
)
def test_what_is_scored_again_follows_the_shares(rescore, shares):
    found = plan(0.5, 1.0, rescore=rescore).freezing.rescored_shares
    assert found == shares


def test_a_share_of_nothing_alone_is_refused():
    with pytest.raises(UsageError, match="--shares holds no share above 0"):
        plan(0.0)


def test_larger_parts_hold_the_smaller_ones_and_seeds_draw_others():
    index = np.arange(0, 4000, 4)
    parts = [part_of(index, share, seed=3) for share in (0.0, 0.25, 0.5, 1.0)]
    assert [part.size for part in parts] == [0, 250, 500, 1000]
    for smaller, larger in pairwise(parts):
        assert set(smaller.tolist()) <= set(larger.tolist())
        assert (np.diff(larger) > 0).all()
    assert np.array_equal(parts[-1], index)
    other = part_of(index, 0.5, seed=4)
    shared = len(set(other.tolist()) & set(parts[2].tolist()))
    assert 200 < shared < 300


LEVELS = {
    (BEFORE, 0.0, MEAN): [1, 1, 1, 1],
    ("free", 0.0, 0): [1, 0, 0, 0],
    ("free", 0.0, 1): [0, 0, 0, 0],
    ("group", 0.5, 0): [1, 1, 0, 0],
    ("group", 0.5, 1): [1, 1, 1, 0],
    ("matched", 0.5, 0): [1, 0, 0, 0],
    ("matched", 0.5, 1): [0, 1, 0, 0],
}


def readings():
    """Refusals of four requests, before tuning and in two seeds of three runs."""
    rows = []
    for (kind, share, seed), refused in LEVELS.items():
        for number, value in enumerate(refused):
            names = {"kind": kind, "share": share, "seed": seed}
            asked = {"set": PROMPTS, "sample_id": f"ask-{number}"}
            read = {"refused": float(value), "log_odds": 2.0 * value, "right": np.nan}
            rows.append(names | asked | read | {"answer": ""})
            held = {"set": "facts", "sample_id": f"fact-{number}"}
            read = {"refused": 0.0, "log_odds": -1.0, "right": 1.0}
            rows.append(names | held | read | {"answer": ""})
    return Table.from_rows(rows)


def test_contrasts_pair_runs_of_one_seed_prompt_by_prompt():
    found = {
        (c.outcome, c.kind, c.against): c for c in contrasts_of(readings(), 0.5, seed=0)
    }
    declared = found[REFUSAL, "group", "matched"]
    assert declared.is_declared
    assert declared.by_seed == (0.25, 0.5)
    assert declared.own.estimate == 0.625
    assert declared.other.estimate == 0.25
    assert found[REFUSAL, "group", "free"].by_seed == (0.25, 0.75)
    assert found[REFUSAL, "matched", "free"].by_seed == (0.0, 0.25)
    assert found["refusal log-odds", "group", "matched"].by_seed == (0.5, 1.0)
    assert found["accuracy on facts", "group", "free"].by_seed == (0.0, 0.0)
    assert found["refusal rate on facts", "group", "free"].own.estimate == 0.0


def test_the_declared_contrast_alone_is_not_adjusted():
    first, *others = contrasts_of(readings(), 0.5, seed=0)
    assert first.is_declared
    assert first.p_adjusted is None
    assert all(c.p_adjusted >= c.p_value for c in others)
    assert not any(c.is_declared for c in others)


def test_what_tuning_took_is_the_mean_over_seeds_against_before():
    lost = lost_of(readings(), REFUSAL, seed=0)
    assert (lost.before.estimate, lost.after.estimate) == (1.0, 0.125)
    assert lost.change.estimate == -0.875
    odds = lost_of(readings(), "refusal log-odds", seed=0)
    assert odds.change.estimate == -1.75
    assert lost_of(readings(), "accuracy on nothing", seed=0) is None


def test_curves_hold_each_seed_and_their_mean_with_an_interval():
    rows = curve_of(readings(), seed=0).where(outcome=REFUSAL)
    group = rows.where(kind="group")
    assert group["seed"].tolist() == [MEAN, 0, 1]
    assert group["value"].tolist() == [0.625, 0.5, 0.75]
    assert group["count"].tolist() == [4, 4, 4]
    assert np.isfinite(group["low"]).tolist() == [True, False, False]
    assert rows.where(kind=BEFORE)["seed"].tolist() == [MEAN]
