"""Causal checks on a model with a planted expert: nulls, doses, swaps, resuming."""

import numpy as np
import pytest
import torch

from driftmap.capture.expert_estimate import estimate_ablation
from driftmap.evaluate.refusal_odds import OutcomeSamples
from driftmap.intervene.experts import ModelParts, copied_parts
from driftmap.load.batches import make_batches
from driftmap.recipes.steps.experts.acting import Readings, Subject
from driftmap.recipes.steps.experts.effects import (
    Matching,
    Ranking,
    check_estimate,
    dose_curves,
    group_effects,
    single_effects,
    swap_tests,
)
from driftmap.stats.experts.paired import Chance
from laws.restores import assert_restores_model
from planted_expert import REFUSAL, planted_expert, prompts_of

CHANCE = Chance(seed=0, num_resamples=200)


@pytest.fixture(scope="module")
def planted():
    return planted_expert(0, num_samples=8)


@pytest.fixture(scope="module")
def subject(planted):
    samples = OutcomeSamples(
        prompts=prompts_of(planted.unsafe),
        first_ids=REFUSAL[:1],
        benign=planted.benign,
    )
    return Subject(model=planted.model, banks=planted.banks, samples=samples)


@pytest.fixture(scope="module")
def ranking(planted):
    first = planted.expert
    others = [e for bank in planted.banks for e in bank.experts if e != first]
    return Ranking(
        name="gradient", method="gradient", experts=(first, *others[:4]), size=1
    )


@pytest.fixture(scope="module")
def matching(planted):
    tokens = np.full((len(planted.banks), 8), 10, np.int64)
    return Matching(routed_tokens=tokens, draws=5, chance=CHANCE)


def test_the_planted_expert_stands_out_from_matched_ones(subject, ranking, matching):
    readings, heard = Readings(subject), []
    with assert_restores_model(subject.model):
        found = group_effects(readings, [ranking], matching, told=heard.append)
    odds, nats = found
    assert heard == ["gradient"]
    assert (odds.outcome, nats.outcome) == ("refusal_log_odds", "benign_nats")
    assert odds.change.low > 0.15
    assert odds.null is not None
    assert odds.null.p_value == pytest.approx(1 / 6)
    assert odds.change.estimate > max(odds.null.changes)
    assert odds.null.difference.low > 0.15
    assert (odds.null.num_unmatched, odds.null.num_missing) == (0, 0)


def test_random_sets_are_of_the_same_layer_and_never_chosen(
    subject, ranking, matching, monkeypatch
):
    readings, taken = Readings(subject), []
    whole = readings.under

    def under(action, experts):
        taken.append(tuple(experts))
        return whole(action, taken[-1])

    monkeypatch.setattr(readings, "under", under)
    group_effects(readings, [ranking], matching)
    drawn = [one for one in taken if one and one != ranking.group]
    assert len(drawn) == 5
    for (one,) in drawn:
        assert one.layer == ranking.group[0].layer
        assert one not in ranking.group


def test_a_whole_layer_has_no_random_counterpart(planted, subject, matching):
    everyone = planted.banks[0].experts
    whole = Ranking(name="all", method="all", experts=everyone, size=8)
    (odds, _) = group_effects(Readings(subject), [whole], matching)
    assert odds.null is None


def test_doses_begin_with_nothing_and_end_with_the_ranking(subject, ranking, matching):
    readings = Readings(subject)
    odds, nats = dose_curves(readings, [ranking], matching, doses=(0, 1, 3, 50))
    assert odds.doses == nats.doses == (0, 1, 3)
    nothing, own, _ = odds.effects
    assert (nothing.change.estimate, nothing.change.high) == (0, 0)
    assert nothing.null is None
    whole = group_effects(readings, [ranking], matching)[0]
    assert own == whole
    assert [one.name for one in odds.effects] == [
        "gradient, first 0",
        "gradient",
        "gradient, first 3",
    ]


def test_single_experts_and_the_estimate(planted, subject, ranking):
    effects = single_effects(Readings(subject), ranking.experts, "gradient", CHANCE)
    by_name = {e.name: e.change.estimate for e in effects if "odds" in e.outcome}
    assert max(by_name, key=lambda name: by_name[name]) == planted.expert.key
    batches = make_batches(prompts_of(planted.unsafe), batch_size=8, pad_id=0)
    estimate = estimate_ablation(planted.model, planted.banks, batches, REFUSAL[:1])
    check = check_estimate(estimate, effects)
    assert check is not None
    assert check.num_experts == 5
    assert check_estimate(estimate, effects[:2]) is None


def test_a_killed_study_reads_nothing_twice(subject, ranking, matching, tmp_path):
    whole = group_effects(Readings(subject, tmp_path), [ranking], matching)
    files = sorted(tmp_path.iterdir())
    assert 3 <= len(files) <= 7  # untouched, the group, up to five drawn sets

    class RereadError(Exception):
        """Raised where the model is read."""

    class Unread(Subject):
        def read(self):
            raise RereadError

    shut = Unread(model=subject.model, banks=subject.banks, samples=subject.samples)
    again = group_effects(Readings(shut, tmp_path), [ranking], matching)
    assert again == whole
    files[0].unlink()
    with assert_restores_model(subject.model), pytest.raises(RereadError):
        group_effects(Readings(shut, tmp_path), [ranking], matching)


def tuned(planted, experts, routers):
    """Parts as they are, and the same with noise in them."""
    parts = copied_parts(planted.model, planted.banks, experts, routers)
    draw = torch.Generator().manual_seed(0)

    def noisy(value):
        return value + 0.3 * value.std() * torch.randn(value.shape, generator=draw)

    return parts, ModelParts(
        experts={
            place: {name: noisy(value) for name, value in own.items()}
            for place, own in parts.experts.items()
        },
        parameters={name: noisy(value) for name, value in parts.parameters.items()},
    )


def test_shares_of_experts_and_routers_add_up(planted, subject):
    bank = planted.banks[2]
    old, new = tuned(planted, bank.experts, bank.router.parameters)
    with assert_restores_model(planted.model):
        found = swap_tests(subject, old, new, CHANCE)
    assert [(one.form, one.outcome) for one in found] == [
        (form, outcome)
        for form in ("weights", "replay")
        for outcome in ("refusal_log_odds", "benign_nats")
    ]
    for one in found:
        shares = one.experts.estimate + one.router.estimate
        assert shares == pytest.approx(one.total.estimate)
        assert abs(one.router.estimate) > 1e-3
    by_weights, replayed = found[0], found[2]
    assert by_weights.total == replayed.total
    # Nothing before the last bank has changed, so its old router chooses as it did.
    assert replayed.new_experts.estimate == pytest.approx(
        by_weights.new_experts.estimate, abs=1e-5
    )


def test_without_new_routers_all_of_the_change_is_the_experts(planted, subject):
    old, new = tuned(planted, planted.banks[1].experts[:3], ())
    for one in swap_tests(subject, old, new, CHANCE)[:2]:
        assert (one.router.low, one.router.high) == (0, 0)
        assert one.experts.estimate == pytest.approx(one.total.estimate)
        assert abs(one.total.estimate) > 1e-3
