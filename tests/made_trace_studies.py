"""Finished runs of causal tracing, made by hand: an early and a late site."""

from dataclasses import replace

import numpy as np

from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import ROLES, Noise
from driftmap.results.trace_study import (
    EstimateCheck,
    FactCounts,
    FactOutcome,
    LensLayer,
    LensView,
    TracedFact,
    TraceFindings,
    TraceStudy,
)
from driftmap.results.traces import BestLayer, RoleEffects, RoleLayer, TraceGrid
from driftmap.stats.trace_cautions import trace_cautions
from driftmap.stats.trace_verdict import trace_verdict

LOW, HIGH = 0.25, 0.95
TOKENS = ("<s>", " Mi", "vo", "du", " lives", " in")
SUBJECT = (1, 4)
TOKEN_ROLES = (
    (), ("first subject",), ("middle subject",), ("last subject",), ("first later",),
    ("last",),
)  # fmt: skip

EFFECTS = {
    "hidden": {
        "first subject": (0.08, 0.05, 0.02, 0.0, 0.0, 0.0),
        "middle subject": (0.1, 0.06, 0.02, 0.0, 0.0, 0.0),
        "last subject": (0.62, 0.66, 0.49, 0.02, 0.01, 0.0),
        "first later": (0.0, 0.02, 0.03, 0.02, 0.0, 0.0),
        "last": (0.0, 0.16, 0.62, 0.7, 0.7, 0.7),
    },
    "mlp": {
        "last subject": (0.6, 0.55, 0.3, 0.05, 0.0, -0.01),
        "last": (0.0, 0.05, 0.1, 0.3, 0.4, 0.3),
    },
    "attn": {
        "last subject": (0.5, 0.4, 0.1, 0.0, 0.0, 0.0),
        "last": (0.0, 0.2, 0.5, 0.45, 0.2, 0.1),
    },
    "severed_mlp": {"last subject": (0.3, 0.4, 0.45, 0.02, 0.01, 0.0)},
    "severed_attn": {"last subject": (0.55, 0.6, 0.48, 0.02, 0.01, 0.0)},
}
"""Mean effects by kind, role and layer, as the built-in model of knowledge has them."""


def between(estimate, reach=0.04, num=240):
    return Interval(
        estimate=estimate, low=estimate - reach, high=estimate + reach, level=0.95,
        num=num,
    )  # fmt: skip


def effects(kind="hidden", by_role=None, **given):
    """Averages of one kind; `by_role` holds one number for each layer."""
    by_role = EFFECTS[kind] if by_role is None else by_role
    roles = [role for role in ROLES if role in by_role]
    cells = tuple(
        RoleLayer(role=role, layer=layer, effect=between(value))
        for role in roles
        for layer, value in enumerate(by_role[role])
    )
    best = tuple(
        BestLayer(
            role=role, layer=int(np.argmax(by_role[role])),
            low=max(0, int(np.argmax(by_role[role])) - 1),
            high=int(np.argmax(by_role[role])), effect=max(by_role[role]),
            mean_of_maxima=max(by_role[role]) + 0.02, num=240,
        )
        for role in roles
    )  # fmt: skip
    fields = {
        "kind": kind,
        "window": 2 if kind in ("mlp", "attn") else None,
        "cells": cells,
        "best": best,
        "total_effect": between(HIGH - LOW),
        "control_effect": between(0.1),
        "high": HIGH,
        "low": LOW,
        "num_facts": 240,
        "num_unknown": 16,
        "num_negative": 2,
        "pooled": False,
        "method": "wavefront",
    }
    return RoleEffects(**fields | given)


def grid(kind="hidden", tokens=TOKENS, low=LOW, high=HIGH, **given):
    """The grid of one fact, with the effects of its tokens' roles."""
    by_role = EFFECTS[kind]
    num_layers = len(by_role["last subject"])
    zeros = (np.nan if kind.startswith("severed") else 0.0,) * num_layers
    rows = [
        by_role.get(roles[0], zeros) if roles else zeros
        for roles in TOKEN_ROLES[: len(tokens)]
    ]
    fields = {
        "fact_id": "f0",
        "kind": kind,
        "window": 2 if kind in ("mlp", "attn") else None,
        "dims": None,
        "score": np.array(rows, dtype=np.float64) + low,
        "standard_error": np.full((len(rows), num_layers), 0.01),
        "low": low,
        "high": high,
        "tokens": tokens,
        "subject": SUBJECT,
        "roles": TOKEN_ROLES[: len(tokens)],
        "answer": "Rome",
        "foil": None,
        "is_known": True,
        "outcome": "prob",
        "noise": Noise(level=0.12),
        "method": "wavefront",
    }
    return TraceGrid(**fields | given)


def lens_view(tokens=TOKENS, num_layers=6):
    along = np.linspace(0.0, 0.9, num_layers)
    probability = np.outer(np.linspace(0.1, 1.0, len(tokens)), along)
    return LensView(
        tokens=tokens, answer="Rome", foil="Oslo", probability=probability,
        rank=np.where(probability > 0.4, 0, 7), entropy_nats=2 - probability,
        kl_nats=1 - probability, foil_probability=probability / 20,
    )  # fmt: skip


def traced(name="f0", **given):
    grids = tuple(grid(kind, fact_id=name) for kind in EFFECTS)
    fields = {
        "id": name,
        "prompt": "Mivodu lives in",
        "subject": "Mivodu",
        "grids": grids,
        "lens": lens_view(),
    }
    return TracedFact(**fields | given)


def fact_rows(num=30):
    return tuple(
        FactOutcome(
            id=f"f{n}", subject="Mivodu", answer="Rome",
            choice="Rome" if n % 5 else "Oslo", high=0.95, low=0.2 + n / 100,
            is_known=bool(n % 5), peak_layer=1, peak_effect=0.6, control=0.05,
        )
        for n in range(num)
    )  # fmt: skip


def counts(**given):
    fields = {
        "num_read": 260,
        "num_known": 240,
        "num_unknown": 16,
        "num_averaged": 240,
        "num_subjects": 60,
        "left_out": {"the subject is not in the prompt": 4},
    }
    return FactCounts(**fields | given)


def checks():
    return tuple(
        EstimateCheck(
            kind=kind, method="attribution", pearson=between(0.86),
            spearman=between(0.81), top_overlap=between(0.8),
        )
        for kind in ("hidden", "mlp", "attn")
    )  # fmt: skip


def findings(**changes):
    """All that there may be; verdict and cautions follow from the rest."""
    fields = {
        "model": ModelIdentity(
            source="models/knowledge", sha256="ab" * 32, base_sha256="ab" * 32,
            family="llama", dtype="float32", device="cpu", num_weights=750_000,
        ),
        "num_layers": 6,
        "counts": counts(),
        "outcome": "prob",
        "noise": Noise(level=0.12),
        "noise_source": "3 x the standard deviation of the embeddings of all subjects",
        "effects": tuple(effects(kind) for kind in EFFECTS),
        "facts": fact_rows(),
        "shown": (traced("f0"), traced("f1")),
        "lens": tuple(
            LensLayer(
                layer=n, probability=between(n / 6), first_choice=between(n / 5.5),
                foil_probability=between(0.02, 0.01),
            )
            for n in range(6)
        ),
        "checks": checks(),
    } | changes  # fmt: skip
    told = (fields["counts"], fields["effects"])
    made = {
        "verdict": trace_verdict(*told, fields["shown"], fields["outcome"]),
        "cautions": trace_cautions(*told, fields["checks"], fields["outcome"]),
    }
    return TraceFindings(**made | fields)


def study(settings=None, **changes):
    """A whole run; `changes` are of its findings."""
    return TraceStudy(
        settings={"model": "models/knowledge", "seed": 0} | (settings or {}),
        versions={"driftmap": "0.1", "torch": "2.13"},
        findings=findings(**changes),
    )


def one_fact():
    """What a single prompt leaves."""
    return study(
        counts=counts(num_read=1, num_known=1, num_unknown=0, num_averaged=1,
                      num_subjects=1, left_out={}),
        effects=(), facts=fact_rows()[1:2], shown=(replace(traced(), lens=None),),
        lens=(), checks=(),
    )  # fmt: skip
