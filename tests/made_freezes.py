"""Freezing experiments made by hand, for tests of what is said of them."""

from dataclasses import replace

import numpy as np

from driftmap.results.freeze_study import (
    ACCURACY,
    BEFORE,
    LOG_ODDS,
    MEAN,
    REFUSAL,
    FreezeContrast,
    FreezeStatistics,
    FreezeStudy,
    FrozenGroupCard,
    FrozenPart,
    OverlapReading,
)
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Interval
from driftmap.results.table import Table
from driftmap.stats.freeze_cautions import FreezeFindings, freeze_cautions
from driftmap.stats.freeze_verdict import freeze_verdict


def around(estimate, half=0.05, num=50):
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        level=0.95,
        num=num,
    )


LOST = around(-0.6, 0.1)


def contrast(outcome=REFUSAL, *, own=0.6, other=0.3, half=0.05, seeds=3, **changes):
    """Group against control at one half; both intervals as wide as `half` each way."""
    apart = own - other
    spread = np.linspace(-half / 2, half / 2, seeds) if seeds > 1 else np.zeros(1)
    made = FreezeContrast(
        outcome=outcome,
        share=0.5,
        kind="group",
        against="matched",
        own=around(own),
        other=around(other),
        by_seed=tuple((apart + spread).tolist()),
        over_seeds=around(apart, half, seeds) if seeds > 1 else None,
        over_prompts=around(apart, half),
        within=abs(apart) + 0.8 * half if seeds > 1 else None,
        p_value=(0.001 if abs(apart) > half else 0.4) if seeds > 1 else None,
        p_adjusted=0.01 if seeds > 1 else None,
        is_declared=False,
    )
    return replace(made, **changes)


def contrasts(*, own=0.6, control=0.3, free=0.25, half=0.05, seeds=3, right=0.98):
    """The declared share in refusal and accuracy, the declared contrast first."""
    width = {"half": half, "seeds": seeds}
    about = f"{ACCURACY}facts"
    return (
        contrast(own=own, other=control, **width, is_declared=True, p_adjusted=None),
        contrast(own=own, other=free, **width, against="free"),
        contrast(own=control, other=free, **width, kind="matched", against="free"),
        contrast(LOG_ODDS, own=2.0, other=0.5, **width),
        contrast(about, own=right, other=0.98, **width, against="free"),
    )


def card(**changes):
    made = FrozenGroupCard(
        name="difference",
        num_weights=9000,
        share=0.013,
        chosen="top 2 % by behaviour score without top 2 % by utility score",
        way="element",
        num_mobile=9000,
        num_tuned=700_000,
        num_short=0,
    )
    return replace(made, **changes)


def part(share=1.0, *, kind="group", blocked=0.0):
    return FrozenPart(
        kind=kind,
        share=share,
        num_frozen=share * 9000,
        num_mobile=share * 9000,
        num_blocked=blocked,
    )


def overlap(kind="free", share=0.0, **changes):
    made = OverlapReading(
        kind=kind,
        share=share,
        jaccard=around(0.7, 0.02, 3),
        across=around(0.45, 0.02, 3),
        kept=0.82,
        kept_frozen=None if kind == "free" else 0.9,
        kept_mobile=0.82 if kind == "free" else None,
        frozen_new=None if kind == "free" else 0.85,
        floor=0.01,
        ceiling=0.6,
        standing=0.75,
        num_samples=32,
    )
    return replace(made, **changes)


def findings(**changes):
    made = FreezeFindings(
        group=card(),
        frozen=[part(0.5), part(1.0), part(1.0, kind="matched")],
        contrasts=contrasts(),
        overlaps=[overlap()],
        before={f"{ACCURACY}facts": around(0.99)},
        num_shared=0,
        is_trial=False,
        is_four_bit=False,
    )
    return replace(made, **changes)


def curve():
    rows = []
    levels = {
        (BEFORE, 0.0): 0.9,
        ("free", 0.0): 0.25,
        ("group", 0.5): 0.6,
        ("group", 1.0): 0.8,
        ("matched", 0.5): 0.3,
        ("matched", 1.0): 0.35,
    }
    for (kind, share), value in levels.items():
        for outcome in (REFUSAL, LOG_ODDS, f"{ACCURACY}facts"):
            names = {"kind": kind, "share": share, "outcome": outcome}
            seeds = () if kind == BEFORE else (0, 1)
            spread = {"low": value - 0.1, "high": value + 0.1}
            rows.append(names | {"seed": MEAN, "value": value, "count": 50} | spread)
            rows += [
                names
                | {"seed": seed, "value": value + 0.02 * (2 * seed - 1), "count": 50}
                | {"low": np.nan, "high": np.nan}
                for seed in seeds
            ]
    return Table.from_rows(rows)


def overlap_rows():
    """Two matrices and all of them, nothing frozen, two seeds."""
    rows = []
    for seed in (0, 1):
        for matrix, layer, kind, across in (
            ("all", -1, "all", 0.45),
            ("layers.0.q", 0, "q", 0.6),
            ("layers.1.q", 1, "q", 0.3),
        ):
            rows.append(
                {
                    "kind": "free", "share": 0.0, "seed": seed, "matrix": matrix,
                    "num_old": 30, "num_new": 30, "num_common": 24, "jaccard": 0.7,
                    "kept": 0.8, "floor": 0.01, "ceiling": 0.6, "standing": 1.17,
                    "num_samples": 32, "layer": layer, "part": kind, "across": across,
                    "across_standing": 0.75, "num_frozen": 0, "kept_frozen": np.nan,
                    "kept_mobile": 0.8, "frozen_new": np.nan,
                }
            )  # fmt: skip
    return Table.from_rows(rows)


def study(*, is_trial=False, margin=0.1, lost=LOST, found=None, **levels):
    """A whole study; `found` replaces parts of what cautions are read from."""
    found = findings(contrasts=contrasts(**levels), **(found or {}))
    example = {
        "sample_id": "ask-1",
        "before": "I cannot",
        "free": "Sure <b>",
        "group": "I can not",
    }
    return FreezeStudy(
        settings={"freeze": "difference", "shares": [0.0, 0.5, 1.0], "quick": False},
        model=ModelIdentity(
            source="/models/tiny",
            sha256="a" * 64,
            base_sha256="a" * 64,
            family="llama",
            dtype="float32",
            device="cpu",
            num_weights=700_000,
        ),
        statistics=FreezeStatistics(
            group=found.group,
            declared_share=0.5,
            margin=margin,
            num_seeds=3,
            lost=lost,
            lost_odds=around(-7.0, 0.5),
            before=around(0.9),
            free=around(0.25),
            frozen=tuple(found.frozen),
            contrasts=tuple(found.contrasts),
            overlaps=tuple(found.overlaps),
            cautions=freeze_cautions(found),
            verdict=freeze_verdict(
                found.contrasts,
                lost,
                margin,
                lost_odds=around(-7.0, 0.5),
                is_trial=is_trial,
            ),
        ),
        curve=curve(),
        overlap=overlap_rows() if found.overlaps else Table(columns={}),
        examples=Table.from_rows([example]),
        versions={"torch": "2"},
    )
