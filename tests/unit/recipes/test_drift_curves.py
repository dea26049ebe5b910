import numpy as np
import pytest

from driftmap.recipes.steps.inference.drifting import drift_curves
from driftmap.results.table import Table
from driftmap.stats.intervals import t_interval


def table(num_steps=2, num_groups=2, num_sites=3, num_seeds=3):
    rng = np.random.default_rng(0)
    return Table.from_rows(
        [
            {
                "step": step,
                "seed": seed,
                "layer": layer,
                "group": f"group-{group}",
                "unit": "weight",
                "metric": metric,
                "mean": rng.normal(),
                "std": rng.random(),
            }
            for seed in range(num_seeds)
            for step in range(num_steps)
            for group in range(num_groups)
            for metric in ("absolute", "relative")
            for layer in range(-1, num_sites)
        ]
    )


def test_every_curve_is_the_mean_over_seeds_with_its_interval():
    whole = table()
    curves = drift_curves(whole)
    assert len(curves) == 2 * 2 * 2
    assert curves["step"].tolist() == [0] * 4 + [1] * 4
    for row in curves.rows():
        key = {name: row[name] for name in ("step", "group", "unit", "metric")}
        seeds = whole.where(layer=-1, **key)
        interval = t_interval(seeds["mean"], 0.95)
        assert row["mean"] == pytest.approx(interval.estimate)
        assert (row["low"], row["high"]) == (interval.low, interval.high)
        assert row["std"] == pytest.approx(seeds["std"].mean())


def test_one_seed_has_no_interval():
    curves = drift_curves(table(num_seeds=1))
    assert np.isnan(curves["low"]).all()
    assert np.isfinite(curves["mean"]).all()


def test_curves_of_long_tables_keep_every_key():
    curves = drift_curves(table(num_steps=2000, num_sites=0, num_groups=4))
    assert len(curves) == 16_000
    assert curves["step"].tolist() == sorted(curves["step"].tolist())
