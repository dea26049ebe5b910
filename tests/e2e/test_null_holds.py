"""Is the null a null, and is what was planted found?"""

from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import ttest_ind

from driftmap.stats.cautions import applying, few_seeds
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from driftmap.stats.intervals import t_interval
from driftmap.stats.ratios import group_ratios
from driftmap.stats.verdict import decide
from laws.statistics import random_study
from verdicts import behaviour_of

LOST = behaviour_of(-0.4, -0.5, -0.3)


def pooled(seed, *, num_permutations=199, **study):
    plan = DrawPlan(seed=seed, num_permutations=num_permutations)
    evidence = [
        matrix_evidence(m.site, m.magnitudes, m.drifts, m.groups, plan)
        for m in random_study(seed, **study)
    ]
    return group_ratios(evidence, primary="top", seed=seed)


def weights_as_samples_p(seed):
    """The published way: every weight counts as an independent sample."""
    group, rest = [], []
    for m in random_study(seed):
        drift = m.drifts[0].ravel() / m.drifts[0].mean()
        group.append(drift[m.groups["top"]])
        rest.append(np.delete(drift, m.groups["top"]))
    return ttest_ind(
        np.concatenate(group), np.concatenate(rest), equal_var=False
    ).pvalue


@dataclass(frozen=True, kw_only=True)
class NullRun:
    whole: np.ndarray
    layer: np.ndarray
    part: np.ndarray
    thetas: np.ndarray
    log_biases: np.ndarray


@pytest.fixture(
    scope="module", params=[0.0, 1.0], ids=["drift alike", "drift as large as |W|"]
)
def null_run(request):
    ratios = [pooled(seed, follows_weight=request.param) for seed in range(1000)]
    first = [{(r.layer, r.part): r.p_value for r in found} for found in ratios]
    return NullRun(
        whole=np.array([p[None, None] for p in first]),
        layer=np.array([p[0, None] for p in first]),
        part=np.array([p[None, "q"] for p in first]),
        thetas=np.array([found[0].thetas[0] for found in ratios]),
        log_biases=np.array([found[0].log_bias for found in ratios]),
    )


@pytest.mark.slow
def test_chance_alone_is_called_significant_in_5_percent(null_run):
    assert 0.02 <= np.mean(null_run.whole <= 0.05) <= 0.08


@pytest.mark.slow
def test_so_it_is_for_one_layer_and_for_rows_clustered_by_head(null_run):
    assert 0.02 <= np.mean(null_run.layer <= 0.05) <= 0.08
    assert 0.02 <= np.mean(null_run.part <= 0.05) <= 0.08


@pytest.mark.slow
def test_p_values_are_not_below_uniform(null_run):
    for level in (0.01, 0.05, 0.1, 0.25, 0.5):
        slack = 3 * (level * (1 - level) / 1000) ** 0.5
        assert np.mean(null_run.whole <= level) <= level + slack


@pytest.mark.slow
def test_ratio_of_few_clustered_weights_is_1_where_nothing_differs(null_run):
    assert 0.95 < np.exp(null_run.thetas.mean()) < 1.02
    assert np.exp((null_run.thetas + null_run.log_biases).mean()) < 0.9


@pytest.mark.slow
def test_weights_as_independent_samples_find_effects_where_there_are_none():
    p = [weights_as_samples_p(seed) for seed in range(300)]
    assert np.mean(np.array(p) <= 0.05) > 0.12


@pytest.mark.slow
def test_interval_covers_what_many_seeds_would_give():
    (whole, *_) = pooled(5, num_seeds=300, num_permutations=0)
    thetas = np.array(whole.thetas)
    covers = []
    for three in thetas.reshape(100, 3):
        interval = t_interval(three, 0.95)
        covers.append(interval.low <= thetas.mean() <= interval.high)
    assert 0.88 <= np.mean(covers) <= 0.99


def test_planted_double_drift_is_fragile():
    ratio = pooled(1, num_seeds=3, factor=2.2)[0]
    verdict = decide(ratio, LOST, applying([few_seeds(3)]))
    assert verdict.kind == "fragile", verdict.sentence
    assert ratio.p_value == 0.005


def test_planted_equal_drift_with_lost_behaviour_is_pathway_creation():
    ratio = pooled(0, num_seeds=3, share=0.1)[0]
    verdict = decide(ratio, LOST, applying([few_seeds(3)]))
    assert verdict.kind == "pathway creation", verdict.sentence


def test_two_seeds_are_inconclusive_whatever_they_show():
    verdict = decide(
        pooled(1, num_seeds=2, factor=3.0)[0], LOST, applying([few_seeds(2)])
    )
    assert verdict.kind == "inconclusive"
