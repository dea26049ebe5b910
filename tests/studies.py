"""Finished drift studies made of chosen numbers, for tests of what is drawn of them."""

from dataclasses import replace

import numpy as np

from driftmap.results.drift import POOLED_LAYER, POOLED_PART, UNIT_METRICS
from driftmap.results.drift_study import DriftStudy, GroupCard
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import (
    BehaviourChange,
    DriftStatistics,
    EffectSize,
    Equivalence,
    Interval,
    NullDistribution,
    Summary,
    Verdict,
)
from driftmap.results.table import Table
from verdicts import ratio_of

GROUPS = ("difference", "matched", "top", "utility", "random")
STEPS = (0, 10, 20)
PARTS = ("q", "v", "down")

SETTINGS = {
    "model": "models/tiny",
    "behaviour": "data/refusals.jsonl",
    "utility": "data/useful.jsonl",
    "tune_on": "data/benign.jsonl",
    "learning_rate": 1e-4,
    "lora_parts": [],
    "adapter": None,
    "trust_remote_code": False,
    "seeds": 3,
}

VERDICT = Verdict(
    kind="pathway creation",
    sentence="B, consistent with pathway creation: the behaviour changed by -0.60 in "
    "refusal rate, -0.75 to -0.45 while difference drifts 1.02 times its control (0.97 "
    "to 1.07), not more than 1.25: similar.",
    reason="",
    settles="",
    group="difference",
    margin=1.25,
    interval90=None,
)


def study_of(groups=GROUPS, num_seeds=3, num_layers=2, verdict=VERDICT, cautions=()):
    """A study whose numbers follow from the names and places in it."""
    seeds = range(num_seeds)
    return DriftStudy(
        settings=SETTINGS,
        model=ModelIdentity(
            source="models/tiny",
            sha256="a" * 64,
            base_sha256="a" * 64,
            family="llama",
            dtype="float32",
            device="cpu",
            num_weights=12_000,
        ),
        groups=tuple(
            GroupCard(name=g, num_weights=120, share=0.01, chosen="top 1 %")
            for g in groups
        ),
        drift=Table.from_rows(_drift_rows(groups, seeds, num_layers)),
        curves=Table.from_rows(_curve_rows(groups, num_seeds)),
        behaviour=Table.from_rows(_behaviour_rows(seeds)),
        losses=Table.from_rows(
            [
                {"seed": s, "step": n, "loss_nats": 2 / n + s / 10, "learning_rate": 1}
                for s in seeds
                for n in range(1, 21)
            ]
        ),
        statistics=_statistics(groups, num_seeds, num_layers, verdict, cautions),
        versions={"torch": "2.9", "python": "3.11"},
    )  # fmt: skip


def _drift_rows(groups, seeds, num_layers):
    places = [(n, part) for n in range(num_layers) for part in PARTS]
    places.append((POOLED_LAYER, POOLED_PART))
    return [
        {
            "step": step, "seed": seed, "layer": layer, "part": part, "group": group,
            "unit": unit, "metric": metric, "count": 120, "immobile": 0,
            "ratio": 1.0 + 0.01 * number + 0.02 * layer if step else np.nan,
            **_figures(step, number, metric),
        }
        for step in STEPS
        for seed in seeds
        for layer, part in places
        for number, group in enumerate(groups)
        for unit, metric in UNIT_METRICS
    ]  # fmt: skip


def _figures(step, number, metric):
    if metric == "sign_agreement":
        single = dict.fromkeys(("std", "min", "q25", "median", "q75", "max"), np.nan)
        return {"mean": 1.0 - step / 1e4} | single
    mean = step * 1e-5 * (1 + number / 10)
    return {
        "mean": mean, "std": mean / 2, "min": 0.0, "q25": mean / 2, "median": mean,
        "q75": 1.5 * mean, "max": 4 * mean,
    }  # fmt: skip


def _curve_rows(groups, num_seeds):
    rows = []
    for step in STEPS:
        for number, group in enumerate(groups):
            for unit, metric in UNIT_METRICS:
                of_step = _figures(step, number, metric)
                mean, wide = of_step["mean"], num_seeds > 1
                rows.append(
                    {
                        "step": step, "group": group, "unit": unit, "metric": metric,
                        "mean": mean, "std": of_step["std"],
                        "low": 0.9 * mean if wide else np.nan,
                        "high": 1.1 * mean if wide else np.nan,
                    }
                )  # fmt: skip
    return rows


def _behaviour_rows(seeds):
    ends = {
        "refusal rate": (1.0, 0.4),
        "refusal log-odds": (4.0, -1.0),
        "accuracy on facts": (0.96, 0.95),
        "refusal rate on useful": (0.0, 0.02),
    }
    return [
        {
            "seed": seed, "step": step, "outcome": outcome, "value": value, "count": 60,
            "low": np.nan if "odds" in outcome else max(0.0, value - 0.1),
            "high": np.nan if "odds" in outcome else min(1.0, value + 0.1),
        }
        for outcome, (before, after) in ends.items()
        for seed in seeds
        for step in STEPS
        for value in [before + (after - before) * step / STEPS[-1]]
    ]  # fmt: skip


def _statistics(groups, num_seeds, num_layers, verdict, cautions):
    places = [(None, None), *((n, None) for n in range(num_layers))]
    places += [(None, part) for part in PARTS]
    thetas = (-0.03, 0.02, 0.07)[:num_seeds]
    ratios = [
        replace(
            ratio_of([t + number / 50 for t in thetas], group=group),
            layer=layer,
            part=part,
            is_primary=(number, layer, part) == (0, None, None),
            p_value=0.25,
            p_adjusted=None if (number, layer, part) == (0, None, None) else 0.5,
            null=_null() if layer is None and part is None else None,
        )
        for number, group in enumerate(groups)
        for layer, part in places
    ]
    return DriftStatistics(
        step=STEPS[-1],
        num_seeds=num_seeds,
        ratios=tuple(ratios),
        effects=tuple(_effects(groups)),
        equivalences=tuple(
            Equivalence(group=g, margin=1.25, p_value=0.01, is_similar=g != "utility")
            for g in groups
        ),
        behaviours=(
            _change("refusal rate", 1.0, 0.4),
            _change("accuracy on facts", 0.96, 0.96),
            _change("refusal rate on useful", 0.0, 0.02),
        ),
        cautions=tuple(cautions),
        verdict=verdict,
    )


def _null():
    draws = np.random.default_rng(0).normal(1.0, 0.02, 199)
    return NullDistribution(
        observed=1.02, ratios=tuple(draws.tolist()), closed_form_sd=0.01
    )


def _effects(groups):
    summary = Summary(count=120, mean=1e-4, std=5e-5, median=9e-5)
    for metric in ("absolute", *(f"{m} ({u})" for u, m in UNIT_METRICS[1:])):
        for baseline in groups[1:]:
            yield EffectSize(
                group="difference",
                baseline=baseline,
                metric=metric,
                cohens_d=0.31,
                label="small",
                mean_difference=1e-5,
                median_difference=2e-5,
                cliffs_delta=0.12 if metric == "absolute" else None,
                of_group=summary,
                of_baseline=summary,
            )


def _change(outcome, before, after):
    def rate(value):
        low, high = max(0.0, value - 0.1), min(1.0, value + 0.1)
        return Interval(estimate=value, low=low, high=high, level=0.95, num=60)

    change = after - before
    wide = 0.15 if change else 0.0
    return BehaviourChange(
        outcome=outcome,
        before=rate(before),
        after=rate(after),
        change=Interval(
            estimate=change, low=change - wide, high=change + wide, level=0.95, num=60
        ),
    )
