import json
from pathlib import Path

import numpy as np
import pytest
import torch

from driftmap.core.places import Site
from driftmap.measure.drift import drift_baseline, published_summary
from driftmap.results.drift import PUBLISHED_METRICS
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.signals.factors import LoraFactors
from laws.drift import merged_change

LOGS = (Path(__file__).parents[3] / "../shared/data/drift_logs_cs2881").resolve()

Q = Site(path="layers.0.q", layer=0, part="q", num_rows=2, num_columns=2)
K = Site(path="layers.0.k", layer=0, part="k", num_rows=2, num_columns=2)
ORIGIN = GroupOrigin(model_sha256="m", base_sha256="b", rule="top")
WEIGHTS = {
    Q: torch.tensor([[3.0, 4.0], [0.0, 1.0]]),
    K: torch.tensor([[1.0, 1.0], [0.0, 0.0]]),
}
# Both rows of the change are (4, -3).
FACTORS = LoraFactors(
    down=torch.tensor([[4.0, -3.0]], dtype=torch.float64),
    up=torch.tensor([[0.5], [0.5]], dtype=torch.float64),
    scale=2.0,
)


@pytest.fixture
def summary():
    every = np.arange(4)
    groups = [
        WeightGroup(name="all", members={Q: every, K: every}, origin=ORIGIN),
        WeightGroup(name="none", members={}, origin=ORIGIN),
    ]
    baseline = drift_baseline(groups, WEIGHTS.__getitem__)
    return published_summary(baseline, {Q: FACTORS})


def figures(values):
    low, q25, median, q75, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    return {
        "mean": np.mean(values), "std": np.std(values), "min": low, "max": high,
        "median": median, "q25": q25, "q75": q75, "count": len(values),
    }  # fmt: skip


def test_golden_by_hand(summary):
    assert merged_change(FACTORS).tolist() == [[4, -3], [4, -3]]
    still = [0, 0, 0, 0]
    # Row 0 of q turns from (3, 4) to (7, 1): cos 25 / (5 sqrt 50) = 1 / sqrt 2.
    # Row 1 turns from (0, 1) to (4, -2): cos -2 / sqrt 20. Row 1 of k is zero.
    expected = {
        "absolute_change": figures([4, 3, 4, 3, *still]),
        "relative_change": figures([4 / 3, 3 / 4, 0, 3, *still]),
        "cosine_similarity": figures([0.5**0.5, -2 / 20**0.5, 1, 0]),
        "l2_distance": figures([5, 5, 0, 0]),
    }
    for metric in PUBLISHED_METRICS:
        assert summary[metric]["all"] == pytest.approx(expected[metric], rel=1e-12)


def test_an_empty_group_is_all_zeros(summary):
    for metric in PUBLISHED_METRICS:
        assert set(summary[metric]["none"].values()) == {0}


def test_json_takes_it_as_it_is(summary):
    assert json.loads(json.dumps(summary)) == summary


def test_keys_are_those_of_the_published_logs(summary):
    if not LOGS.exists():
        pytest.skip(f"the published drift logs are not at {LOGS}")
    log = json.loads((LOGS / "drift_step_000500.json").read_text())["metrics"]
    for metric, groups in log.items():
        for published in groups.values():
            assert list(published) == list(summary[metric]["all"])
