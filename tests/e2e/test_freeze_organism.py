"""What does freezing do on the built-in model? Bits, order, words; never digits."""

import pytest
import torch

from driftmap.families.matrices import effective_weight, site_weight
from driftmap.load.model import load_model
from driftmap.load.source import ModelSource
from driftmap.recipes.freeze import Freeze
from driftmap.recipes.freezing_options import ComparingOptions, FreezingOptions
from driftmap.recipes.options import (
    EvaluationOptions,
    GroupOptions,
    ScoringOptions,
)
from driftmap.recipes.steps.tuning.checkpoints import tuned_model
from driftmap.results.freeze_study import ACCURACY, LOG_ODDS, FreezeStatistics
from driftmap.results.plain import from_plain
from driftmap.store.groups import load_group
from driftmap.store.plain import load_json
from driftmap.tune.settings import TuningSettings

pytestmark = pytest.mark.slow

NUM = 32


@pytest.fixture(scope="module")
def run(organism, tmp_path_factory):
    """Nothing frozen, all of the group, all of its control; one training seed."""
    out = tmp_path_factory.mktemp("freeze") / "run"
    data = {name: str(path) for name, path in organism.data.items()}
    Freeze(
        source=ModelSource(model=str(organism.aligned), device="cpu"),
        behaviour=data["behaviour"],
        utility=data["utility"],
        tune_on=data["tune"],
        scoring=ScoringOptions(num_samples=32),
        groups=GroupOptions(p=0.02, q=0.02),
        freezing=FreezingOptions(shares=(1.0,)),
        tuning=TuningSettings(
            learning_rate=2e-3, max_steps=40, batch_size=8, grad_accum=1
        ),
        evaluation=EvaluationOptions(
            refusal_prompts=data["harmful_test"],
            held_out=(data["questions"],),
            num_eval_samples=NUM,
            max_new_tokens=8,
            eval_batch_size=NUM,
        ),
        comparing=ComparingOptions(seeds=1),
        out=out,
    ).run()
    return out


@pytest.fixture(scope="module")
def found(run):
    return from_plain(
        FreezeStatistics, load_json(run / "statistics.json", "driftmap.freeze")
    )


def of(found, outcome, kind, against):
    (one,) = [
        c
        for c in found.contrasts
        if (c.outcome, c.kind, c.against) == (outcome, kind, against)
    ]
    return one


def test_frozen_weights_are_those_of_the_model_bit_for_bit(organism, run):
    loaded = load_model(ModelSource(model=str(organism.aligned), device="cpu"))
    group = load_group(run / "groups/difference.safetensors")
    with tuned_model(loaded, run / "checkpoints/group-1-seed-0") as model:
        for site in loaded.layout.sites:
            index = torch.from_numpy(group.at(site))
            after = effective_weight(model, site).view(-1)
            before = site_weight(loaded.model, site).reshape(-1)
            assert torch.equal(after[index], before[index])
            assert not torch.equal(after, before)


def test_tuning_takes_refusal_away_and_leaves_what_the_model_knows(found):
    assert found.before.estimate >= 0.95
    assert found.lost.high < -0.2
    free = of(found, f"{ACCURACY}questions", "group", "free")
    assert free.own.estimate >= 0.9
    assert free.other.estimate >= 0.9


def test_the_frozen_group_keeps_more_than_its_control(found):
    """By the log-odds, which have no end to stand at."""
    odds = of(found, LOG_ODDS, "group", "matched")
    assert odds.over_prompts.low > 0
    assert abs(of(found, LOG_ODDS, "matched", "free").over_prompts.estimate) < (
        odds.over_prompts.estimate
    )


def test_the_group_after_tuning_stands_between_chance_and_noise(found):
    assert [(o.kind, o.share) for o in found.overlaps] == [
        ("free", 0.0), ("group", 1.0), ("matched", 1.0),
    ]  # fmt: skip
    for one in found.overlaps:
        assert one.across is not None
        assert one.ceiling is not None
        assert one.floor < one.across.estimate < one.ceiling
        assert one.jaccard.estimate > one.across.estimate


def test_one_seed_allows_no_verdict_and_the_page_says_so(run, found):
    assert found.verdict.kind == "few seeds"
    page = " ".join((run / "report.txt").read_text().split())
    assert "[Too few training seeds to tell]" in page
    assert "`difference` of `aligned`, frozen, each weight alone" in page
    assert "in tuned matrices. Means over training seeds." in page
