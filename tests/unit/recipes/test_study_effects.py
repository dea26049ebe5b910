import numpy as np
import pytest
import torch

from driftmap.core.places import Site
from driftmap.recipes.steps.inference.effects import pooled_summary, study_effects
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.table import Table
from driftmap.signals.changes import DenseChange
from driftmap.signals.factors import LoraFactors
from driftmap.stats.effects import effect_size

Q = Site(path="layers.0.q", layer=0, part="q", num_rows=4, num_columns=4)
K = Site(path="layers.0.k", layer=0, part="k", num_rows=4, num_columns=4)


def group(name, rule, members):
    origin = GroupOrigin(model_sha256="m", base_sha256="b", rule=rule)
    return WeightGroup(name=name, members=members, origin=origin)


def factors(seed):
    draw = torch.Generator().manual_seed(seed)
    return LoraFactors(
        down=torch.randn(2, 4, generator=draw, dtype=torch.float64),
        up=torch.randn(4, 2, generator=draw, dtype=torch.float64),
        scale=1.0,
    )


def before(site):
    return torch.eye(4)


def rows(values_by_run):
    return Table.from_rows(
        [
            {
                "count": len(v),
                "mean": np.mean(v) if v else np.nan,
                "std": np.std(v) if v else np.nan,
                "median": np.median(v) if v else np.nan,
            }
            for v in values_by_run
        ]
    )


GROUPS = [
    group("difference", "difference", {Q: np.array([0, 5]), K: np.array([1])}),
    group("random", "random", {Q: np.array([2, 9])}),
    group("utility", "top", {K: np.array([3])}),
]


def table(names=("difference", "random", "utility")):
    runs = {
        "difference": ([1.0, 2.0], [4.0]),
        "random": ([1.0], [3.0]),
        "utility": ([], []),
    }
    return Table.joined(
        [
            Table.from_rows(
                [
                    {"layer": -1, "unit": "fragment", "metric": metric, "group": name}
                    | row
                    for row in rows(runs[name]).rows()
                ]
            )
            for metric in ("absolute", "l2")
            for name in names
        ]
    )


def test_runs_are_pooled_as_if_their_units_stood_in_one_list():
    values = [[1.0, 2.0, 6.0], [], [4.0]]
    whole = [1.0, 2.0, 6.0, 4.0]
    found = pooled_summary(rows(values))
    assert found.count == 4
    assert found.mean == pytest.approx(np.mean(whole))
    assert found.std == pytest.approx(np.std(whole))
    assert found.median == pytest.approx((3 * 2 + 4) / 4)


def test_no_unit_in_any_run_has_no_summary():
    assert pooled_summary(rows([[], []])) is None


def test_absolute_change_is_compared_from_every_weight_of_every_run():
    tuned = [{Q: factors(0)}, {Q: factors(1)}]
    found = study_effects(GROUPS, tuned, before, table())
    dense = [abs(run[Q].up @ run[Q].down).flatten().numpy() for run in tuned]
    top, random = (np.concatenate([d[i] for d in dense]) for i in ([0, 5], [2, 9]))
    expected = effect_size(("difference", top), ("random", random))
    assert found[0].cohens_d == pytest.approx(expected.cohens_d)
    assert found[0].cliffs_delta == expected.cliffs_delta
    assert found[0].of_group.count == 4
    assert [(e.group, e.baseline, e.metric) for e in found] == [
        ("difference", "random", "absolute"),
        ("difference", "random", "l2 (fragment)"),
    ]


def test_every_matrix_of_a_run_is_asked_for_once():
    asked = []

    def weight(site):
        asked.append(site)
        return torch.eye(4)

    dense = DenseChange(values=torch.ones(4, 4, dtype=torch.float64))
    study_effects(GROUPS, [{Q: dense, K: dense}], weight, table())
    assert asked == [Q, K]


def test_other_metrics_come_from_what_the_table_says_of_each_run():
    (effect,) = study_effects(GROUPS, [{}], before, table())
    whole, other = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0])
    expected = effect_size(("difference", whole), ("random", other))
    assert effect.cohens_d == pytest.approx(expected.cohens_d)
    assert effect.cliffs_delta is None
