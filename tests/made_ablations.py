"""Studies of ablations made by hand, for tests of what is said of them."""

from dataclasses import replace

import numpy as np

from driftmap.results.ablation import (
    ACCURACY,
    INTACT,
    LOG_ODDS,
    OWN,
    REFUSAL,
    Ablated,
    AblationStatistics,
    AblationStudy,
    DoseContrast,
)
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Interval
from driftmap.results.table import Table
from driftmap.stats.ablation_cautions import ablation_cautions
from driftmap.stats.ablation_verdict import ablation_verdict


def around(estimate, half=0.1, num=50):
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=0.95,
        num=num,
    )


def contrast(outcome=REFUSAL, *, intact=1.0, own=0.2, controls=(0.9, 1.0), **changes):
    low, high = controls
    mean = (low + high) / 2
    made = DoseContrast(
        group="difference",
        dose=1.0,
        outcome=outcome,
        intact=around(intact),
        own=around(own),
        control_mean=mean,
        control_low=low,
        control_high=high,
        num_controls=5,
        difference=around(own - mean),
        p_value=0.0001,
        p_adjusted=0.0002,
        is_primary=False,
    )
    return replace(made, **changes)


def declared(**changes):
    return contrast(**changes, is_primary=True, p_adjusted=None)


def right(own=1.0, **changes):
    """Accuracy on held-out samples, which controls leave alone."""
    return contrast(
        f"{ACCURACY}facts", own=own, controls=(1.0, 1.0), p_value=1.0, **changes
    )


def about(**changes):
    made = Ablated(
        name="difference",
        unit="weights",
        num_units=9000,
        num_weights=9000,
        share=0.013,
        chosen="top 2 % by behaviour score",
        control="as many others",
    )
    return replace(made, **changes)


def study(*, by="zero", own=0.2, accuracy=1.0, groups=None, **more):
    """A whole study of two doses and two controls."""
    half = contrast(own=0.6, dose=0.5)
    odds = contrast(LOG_ODDS, intact=6.0, own=-1.0, controls=(5.5, 6.0))
    contrasts = (declared(own=own), half, odds, right(accuracy))
    groups = (about(),) if groups is None else groups
    rows = []
    for group, draw, dose, value in [
        (INTACT, OWN, 0.0, 1.0),
        ("difference", OWN, 0.5, 0.6),
        ("difference", OWN, 1.0, own),
        ("difference", 0, 0.5, 0.9),
        ("difference", 0, 1.0, 0.8),
        ("difference", 1, 0.5, 1.0),
        ("difference", 1, 1.0, 0.9),
    ]:
        rows += [
            {
                "group": group,
                "draw": draw,
                "dose": dose,
                "outcome": outcome,
                "value": value,
                "count": 50,
                "low": value - 0.1 if draw == OWN else np.nan,
                "high": value + 0.1 if draw == OWN else np.nan,
            }
            for outcome in (REFUSAL, LOG_ODDS, f"{ACCURACY}facts")
        ]
    example = {
        "group": "difference",
        "sample_id": "ask-1",
        "request": "Open <the> door",
        "before": "I cannot",
        "after": "Sure <b>",
    }
    return AblationStudy(
        settings={"by": by, "doses": [0.5, 1.0], "save": None, "quick": False},
        model=ModelIdentity(
            source="/models/tiny",
            sha256="a" * 64,
            base_sha256="a" * 64,
            family="llama",
            dtype="float32",
            device="cpu",
            num_weights=700_000,
        ),
        statistics=AblationStatistics(
            by=by,
            groups=groups,
            contrasts=contrasts,
            cautions=ablation_cautions(groups, contrasts, more.get("num_shared", 0)),
            verdict=ablation_verdict(by, contrasts),
        ),
        doses=Table.from_rows(rows),
        examples=Table.from_rows([example]),
        versions={"torch": "2"},
        directions=more.get("directions"),
    )
