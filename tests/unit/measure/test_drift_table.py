import numpy as np
import pytest
import torch

from driftmap.core.errors import MeasureError
from driftmap.core.places import Site
from driftmap.measure.drift import dense_change, drift_baseline, drift_table
from driftmap.measure.drift import settled as settled_module
from driftmap.results.drift import UNIT_METRICS, summarise
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.signals.factors import LoraFactors
from driftmap.stats.bins import quantile_bins
from driftmap.stats.evidence import DrawPlan, matrix_evidence
from driftmap.stats.ratios import group_ratios
from laws.drift import merged_change

Q = Site(path="layers.0.q_proj", layer=0, part="q", num_rows=30, num_columns=24)
UP = Site(path="layers.1.up_proj", layer=1, part="up", num_rows=20, num_columns=24)
SITES = (Q, UP)


def random_factors(seed, site, *, rank=3, scale=0.1):
    draw = torch.Generator().manual_seed(seed)
    return LoraFactors(
        down=torch.randn(rank, site.num_columns, generator=draw, dtype=torch.float64),
        up=torch.randn(site.num_rows, rank, generator=draw, dtype=torch.float64),
        scale=scale,
    )


def random_group(name, seed, share=0.1, rule="top", sites=SITES):
    draw = np.random.default_rng(seed)
    return WeightGroup(
        name=name,
        members={
            s: np.sort(
                draw.choice(s.num_weights, int(share * s.num_weights), replace=False)
            )
            for s in sites
        },
        origin=GroupOrigin(model_sha256="m", base_sha256="b", rule=rule),
    )


@pytest.fixture
def weights():
    draw = torch.Generator().manual_seed(7)
    held = {s: torch.randn(s.shape, generator=draw) for s in SITES}
    held[Q][0, 0] = 0.0
    return held


@pytest.fixture
def groups():
    top = random_group("top", 0)
    with_zero = top.members[Q].copy()
    with_zero[0] = 0
    return [
        WeightGroup(
            name="top", members=top.members | {Q: with_zero}, origin=top.origin
        ),
        random_group("utility", 1),
        random_group("random", 2, rule="random"),
    ]


def naive_values(weight, moved, index):
    """Every metric from merged matrices, one unit at a time."""
    flat_w, flat_d = weight.flatten(), moved.flatten()
    rows = sorted({int(i) // weight.shape[1] for i in index})
    columns = sorted({int(i) % weight.shape[1] for i in index})
    w, d = flat_w[index], flat_d[index]
    vectors = {
        "fragment": [index[index // weight.shape[1] == r] for r in rows],
        "row": [np.arange(weight.size).reshape(weight.shape)[r] for r in rows],
        "column": [np.arange(weight.size).reshape(weight.shape)[:, c] for c in columns],
    }
    both = (w != 0) & (w + d != 0)
    found = {
        ("weight", "absolute"): abs(d),
        ("weight", "relative"): abs(d)[abs(w) > 1e-8] / abs(w)[abs(w) > 1e-8],
        ("weight", "sign_agreement"): (np.sign(w) == np.sign(w + d))[both] * 1.0,
    }
    for unit, places in vectors.items():
        found[unit, "l2"] = np.array([np.linalg.norm(flat_d[p]) for p in places])
        found[unit, "cosine_distance"] = np.array(
            [
                1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                for a, b in ((flat_w[p], (flat_w + flat_d)[p]) for p in places)
                if np.linalg.norm(a) > 0
            ]
        )
    return found


def assert_row(row, values, immobile=0):
    expected = summarise(np.asarray(values, dtype=np.float64), immobile)
    for name in ("count", "immobile"):
        assert row[name].item() == getattr(expected, name)
    for name in ("mean", "std", "min", "q25", "median", "q75", "max"):
        np.testing.assert_allclose(
            row[name].item(), getattr(expected, name), rtol=1e-9, atol=1e-14
        )


@pytest.mark.parametrize("with_reference", [False, True])
@pytest.mark.parametrize("block", [50, 2**20])
def test_equals_merged_matrices(weights, groups, with_reference, block, monkeypatch):
    monkeypatch.setattr(settled_module, "BLOCK_WEIGHTS", block)
    now = {s: random_factors(n, s) for n, s in enumerate(SITES)}
    then = {s: random_factors(n + 10, s) for n, s in enumerate(SITES)}
    then = then if with_reference else {}
    baseline = drift_baseline(groups, weights.__getitem__, then)
    table = drift_table(baseline, now, step=500, seed=3)
    for group in groups:
        pooled = {key: [] for key in UNIT_METRICS}
        for site in SITES:
            moved = merged_change(now[site], then.get(site)).numpy()
            before = weights[site].double()
            if then:
                before = before + merged_change(then[site])
            naive = naive_values(before.numpy(), moved, group.at(site))
            for (unit, metric), values in naive.items():
                place = {"path": site.key, "layer": site.layer, "part": site.part}
                row = table.where(group=group.name, unit=unit, metric=metric, **place)
                assert_row(row, values)
                pooled[unit, metric].extend(values)
        for (unit, metric), values in pooled.items():
            row = table.where(
                group=group.name,
                unit=unit,
                metric=metric,
                layer=-1,
                part="all",
                path="",
            )
            assert_row(row, values)
    assert set(table["step"]) == {500}
    assert set(table["seed"]) == {3}
    assert len(table) == 3 * 3 * len(UNIT_METRICS)


def test_a_zero_weight_is_left_out_of_what_divides_by_it(weights, groups):
    now = {s: random_factors(n, s) for n, s in enumerate(SITES)}
    table = drift_table(
        drift_baseline(groups, weights.__getitem__), now, step=1, seed=0
    )
    here = table.where(group="top", path=Q.key, unit="weight")
    members = groups[0].at(Q).size
    counts = dict(zip(here["metric"].tolist(), here["count"].tolist(), strict=True))
    assert counts == {
        "absolute": members, "relative": members - 1, "sign_agreement": members - 1
    }  # fmt: skip


def test_matched_reference_equals_bins_of_the_merged_matrix(weights, groups):
    now = {s: random_factors(n, s) for n, s in enumerate(SITES)}
    table = drift_table(
        drift_baseline(groups, weights.__getitem__), now, step=1, seed=0
    )
    logs, means, variances = [], [], []
    members = groups[0]
    for site in SITES:
        d = merged_change(now[site]).abs().numpy().ravel()
        bins = quantile_bins(weights[site].abs().double().numpy().ravel())
        free = np.ones(d.size, dtype=bool)
        free[members.at(site)] = free[groups[1].at(site)] = False
        above = below = mean = variance = 0.0
        for b in range(40):
            inside = np.intersect1d(members.at(site), np.flatnonzero(bins == b))
            whole, control = d[bins == b], d[(bins == b) & free]
            n, N = inside.size, whole.size
            mean += n * whole.mean()
            variance += n * (N - n) / (N - 1) * whole.var()
            if control.size:
                above += d[inside].sum()
                below += n * control.mean()
        row = table.where(group="top", path=site.key, metric="absolute")
        np.testing.assert_allclose(row["ratio"], above / below, rtol=1e-9)
        size = members.at(site).size
        np.testing.assert_allclose(row["null_mean"], mean / size, rtol=1e-9)
        np.testing.assert_allclose(row["null_sd"], variance**0.5 / size, rtol=1e-9)
        logs.append(np.log(above / below))
        means.append(mean)
        variances.append(variance)
    row = table.where(group="top", layer=-1, metric="absolute")
    np.testing.assert_allclose(row["ratio"], np.exp(np.mean(logs)), rtol=1e-9)
    np.testing.assert_allclose(
        row["null_mean"], sum(means) / members.num_weights, rtol=1e-9
    )
    np.testing.assert_allclose(
        row["null_sd"], sum(variances) ** 0.5 / members.num_weights, rtol=1e-9
    )
    assert np.isnan(table.where(metric="l2")["ratio"]).all()


def test_ratio_is_the_one_that_inference_rests_on(weights, groups):
    groups = [*groups, random_group("matched", 3, rule="matched")]
    now = {s: random_factors(n, s) for n, s in enumerate(SITES)}
    baseline = drift_baseline(groups, weights.__getitem__)
    table = drift_table(baseline, now, step=1, seed=0)
    evidence = [
        matrix_evidence(
            site,
            weights[site].abs().numpy(),
            [dense_change(now[site]).abs().numpy()],
            {group.name: group.at(site) for group in groups},
            DrawPlan(
                seed=0,
                num_permutations=19,
                controls={group.name for group in groups if group.is_control},
            ),
        )
        for site in SITES
    ]
    ratios = group_ratios(evidence, primary=None, seed=0)
    whole = [r for r in ratios if r.layer is None and r.part is None]
    assert [r.group for r in whole] == ["top", "utility", "random", "matched"]
    for ratio in whole:
        row = table.where(group=ratio.group, layer=-1, metric="absolute")
        theta = ratio.thetas[0] + ratio.log_bias
        assert row["ratio"].item() == pytest.approx(np.exp(theta), rel=1e-9)


def test_ratio_does_not_depend_on_the_scale_of_the_change(weights, groups):
    baseline = drift_baseline(groups, weights.__getitem__)
    one = drift_table(baseline, {Q: random_factors(0, Q)}, step=1, seed=0)
    two = drift_table(baseline, {Q: random_factors(0, Q, scale=7.0)}, step=1, seed=0)
    np.testing.assert_allclose(
        one.where(metric="absolute")["ratio"],
        two.where(metric="absolute")["ratio"], rtol=1e-12,
    )  # fmt: skip


def test_matrices_nothing_tuned_are_counted_and_left_out(weights, groups):
    baseline = drift_baseline(groups, weights.__getitem__)
    table = drift_table(baseline, {Q: random_factors(0, Q)}, step=1, seed=0)
    still = table.where(path=UP.key, group="top")
    assert (still["count"] == 0).all()
    assert np.isnan(still["mean"]).all()
    units = dict(zip(still["unit"].tolist(), still["immobile"].tolist(), strict=True))
    index = groups[0].at(UP)
    assert units["weight"] == index.size
    assert units["fragment"] == units["row"] == len(set(index // 24))
    assert units["column"] == len(set(index % 24))
    pooled = table.where(layer=-1, group="top", metric="absolute")
    moving = table.where(path=Q.key, group="top", metric="absolute")
    assert pooled["immobile"].item() == index.size
    for name in ("count", "mean", "median", "std", "ratio", "null_mean", "null_sd"):
        assert pooled[name].item() == pytest.approx(moving[name].item(), rel=1e-14)


def test_no_training_no_drift(weights, groups):
    start = {s: random_factors(n, s) for n, s in enumerate(SITES)}
    baseline = drift_baseline(groups, weights.__getitem__, start)
    table = drift_table(baseline, start, step=0, seed=0)
    for metric in ("absolute", "relative", "l2", "cosine_distance"):
        assert not table.where(metric=metric)["max"].any()
    assert (table.where(metric="sign_agreement")["min"] == 1).all()
    assert np.isnan(table["ratio"]).all()


def test_an_empty_group_has_a_pooled_row(weights, groups):
    empty = WeightGroup(name="empty", members={}, origin=groups[0].origin)
    baseline = drift_baseline([*groups, empty], weights.__getitem__)
    table = drift_table(baseline, {Q: random_factors(0, Q)}, step=1, seed=0)
    assert table.where(group="empty")["layer"].tolist() == [-1] * len(UNIT_METRICS)
    assert not table.where(group="empty")["count"].any()


def test_a_group_that_fills_its_bins_has_no_ratio(weights, groups):
    everything = WeightGroup(
        name="all", members={Q: np.arange(Q.num_weights)}, origin=groups[0].origin
    )
    baseline = drift_baseline([everything], weights.__getitem__)
    assert baseline.sites[0].uncontrolled == {"all": Q.num_weights}
    table = drift_table(baseline, {Q: random_factors(0, Q)}, step=1, seed=0)
    row = table.where(path=Q.key, metric="absolute")
    assert np.isnan(row["ratio"]).all()
    np.testing.assert_allclose(row["null_mean"], row["mean"], rtol=1e-12)
    np.testing.assert_allclose(row["null_sd"], 0, atol=1e-12)


def test_weights_are_read_only_and_one_matrix_at_a_time(weights, groups):
    held = {s: w.double() for s, w in weights.items()}
    copies = {s: w.clone() for s, w in held.items()}
    asked = []

    def weight(site):
        asked.append(site)
        return held[site]

    baseline = drift_baseline(groups, weight)
    drift_table(baseline, {UP: random_factors(0, UP)}, step=1, seed=0)
    assert asked == [Q, UP, UP]
    assert all(torch.equal(held[s], copies[s]) for s in SITES)


def message(call):
    with pytest.raises(MeasureError) as error:
        call()
    return str(error.value)


def test_errors_say_where_and_what(weights, groups):
    baseline = drift_baseline(groups, weights.__getitem__)
    table = lambda factors: drift_table(baseline, factors, step=1, seed=0)  # noqa: E731
    broken = random_factors(0, Q)
    broken.down[0, 0] = torch.inf
    assert message(lambda: table({Q: broken})) == (
        "layers.0.q_proj: A (down) holds NaN or infinity; did training diverge?"
    )
    assert message(lambda: table({Q: random_factors(0, UP)})) == (
        "layers.0.q_proj: its change is [20, 24], but the model's matrix is [30, 24]; "
        "is the adapter or group of another model?"
    )
    assert message(lambda: drift_baseline(groups, lambda _: weights[UP])) == (
        "layers.0.q_proj: its matrix is [20, 24], but the model's matrix is [30, 24]; "
        "is the adapter or group of another model?"
    )
    assert message(lambda: drift_baseline(groups[:1] * 2, weights.__getitem__)) == (
        "groups ['top', 'top']: give every group its own name"
    )
    weights[Q][4, 2] = torch.nan
    assert message(lambda: drift_baseline(groups, weights.__getitem__)) == (
        "layers.0.q_proj: row 4 of the weights holds NaN or infinity; "
        "is the checkpoint damaged?"
    )


def test_a_reference_of_another_run_is_refused(weights, groups):
    then = {Q: random_factors(1, Q)}
    baseline = drift_baseline(groups, weights.__getitem__, then)
    now = {s: random_factors(0, s) for s in SITES}
    assert message(lambda: drift_table(baseline, now, step=1, seed=0)) == (
        "layers.1.up_proj: only one of adapter and step-0 adapter tunes it; "
        "are they of one run?"
    )


@pytest.mark.parametrize("index", [[0, 720], [-1, 3], [5, 5], [5, 4]], ids=str)
def test_indices_of_another_matrix_are_refused(weights, groups, index):
    wrong = WeightGroup(
        name="wrong", members={Q: np.array(index)}, origin=groups[0].origin
    )
    assert message(lambda: drift_baseline([wrong], weights.__getitem__)) == (
        "group 'wrong', layers.0.q_proj: flat indices must ascend from 0 to 719; "
        "is the group of another model?"
    )


def test_weights_kept_from_moving_are_immobile(weights, groups):
    rng = np.random.default_rng(5)
    still = {s: np.flatnonzero(rng.random(s.num_weights) < 0.4) for s in SITES}
    now = {s: random_factors(n, s) for n, s in enumerate(SITES)}
    baseline = drift_baseline(groups, weights.__getitem__, still=still)
    table = drift_table(baseline, now, step=1, seed=0)
    evidence = [
        matrix_evidence(
            site,
            weights[site].abs().numpy(),
            [dense_change(now[site]).abs().numpy()],
            {group.name: group.at(site) for group in groups},
            DrawPlan(
                seed=0,
                num_permutations=0,
                controls={group.name for group in groups if group.is_control},
            ),
            ~np.isin(np.arange(site.num_weights), still[site]).reshape(site.shape),
        )
        for site in SITES
    ]
    ratios = group_ratios(evidence, primary=None, seed=0)
    for group in groups:
        free = {s: np.setdiff1d(group.at(s), still[s]) for s in SITES}
        moved = np.concatenate(
            [dense_change(now[s]).abs().numpy().reshape(-1)[free[s]] for s in SITES]
        )
        row = table.where(group=group.name, layer=-1, unit="weight", metric="absolute")
        assert row["count"].item() == moved.size
        assert row["immobile"].item() == group.num_weights - moved.size > 0
        assert row["mean"].item() == pytest.approx(moved.mean(), rel=1e-9)
        held = {s: np.unique(group.at(s) // s.num_columns).size for s in SITES}
        left = {s: np.unique(free[s] // s.num_columns).size for s in SITES}
        rows = table.where(group=group.name, layer=-1, unit="row", metric="l2")
        assert rows["count"].item() == sum(left.values())
        assert rows["immobile"].item() == sum(held.values()) - sum(left.values())
        (whole,) = [
            r for r in ratios if (r.group, r.layer, r.part) == (group.name, None, None)
        ]
        assert row["ratio"].item() == pytest.approx(whole.rho, rel=1e-9)


def test_group_that_cannot_move_has_no_drift(weights, groups):
    still = {site: groups[0].at(site) for site in SITES}
    now = {s: random_factors(n, s) for n, s in enumerate(SITES)}
    baseline = drift_baseline(groups, weights.__getitem__, still=still)
    table = drift_table(baseline, now, step=1, seed=0).where(group=groups[0].name)
    assert not table["count"].any()
    assert np.isnan(table["mean"]).all()
    weight = table.where(layer=-1, unit="weight", metric="absolute")
    assert weight["immobile"].item() == groups[0].num_weights
