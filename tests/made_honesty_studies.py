"""Finished studies of honesty readings, made by hand."""

from dataclasses import replace

import numpy as np

from driftmap.results.honesty import (
    HonestyCounts,
    HonestyResult,
    LayerEvidence,
    ReadingBand,
    ScoredText,
    SteeringPoint,
    Transfer,
    UnitResponse,
)
from driftmap.results.honesty_study import HonestyFindings, HonestyStudy
from driftmap.results.provenance import ModelIdentity
from driftmap.results.statistics import Interval
from driftmap.stats.honesty_verdict import honesty_cautions, honesty_verdict

NUM_LAYERS = 6
ACCURACY = (0.7, 0.85, 0.95, 0.97, 0.96, 0.9)
"""Held-out pair accuracy by layer."""

PIECES = ("<s>", " Rome", " is", " in", " Italy", " .")


def between(estimate, reach=0.03, num=40):
    return Interval(
        estimate=estimate, low=estimate - reach, high=estimate + reach, level=0.95,
        num=num,
    )  # fmt: skip


def evidence(method="mean_difference", half="test", drop=0.0):
    return tuple(
        LayerEvidence(
            method=method, layer=layer, half=half, pair_accuracy=between(value - drop),
            auroc=between(value - drop - 0.02), control_accuracy=between(0.51),
            statement_control=between(0.53), memorised=0.6,
            selectivity=between(value - drop - 0.51),
            random_accuracy=between(0.6, 0.15, 20),
        )
        for layer, value in enumerate(ACCURACY)
    )  # fmt: skip


def band(**given):
    fields = {
        "method": "mean_difference",
        "layers": (2, 3, 4),
        "best": 3,
        "threshold": 0.08,
        "pair_accuracy": between(0.97),
        "auroc": between(0.95),
        "accuracy": between(0.9),
        "control_accuracy": between(0.51),
        "selectivity": between(0.46),
    }
    return ReadingBand(**fields | given)


def transfer(name="true_against_false", auroc=0.52, **given):
    fields = {
        "name": name,
        "asked": name.replace("_", " "),
        "auroc": None if auroc is None else between(auroc, 0.08),
        "pair_accuracy": None,
    }
    return Transfer(**fields | given)


def transfers():
    return (
        transfer("other_wording", 0.9, pair_accuracy=between(0.92)),
        transfer("false_statements", 0.85),
        transfer("true_against_false", 0.52),
        transfer("negated", None, missing="no statement could be negated"),
    )


def unit(kind="neuron", layer=2, number=17, effect=1.5):
    return UnitResponse(
        kind=kind, layer=layer, unit=number, train_effect=effect,
        held_out=between(effect / 3), held_out_effect=effect * 0.8, p_value=0.001,
        p_adjusted=0.02,
    )  # fmt: skip


def steered(strength, gain=1.2, along="reading", number=0):
    log_odds = 2 + gain * strength
    share = 1 / (1 + np.exp(-log_odds))
    return SteeringPoint(
        along=along, number=number, strength=strength, log_odds=between(log_odds, 0.4),
        p_true=between(float(share)), share_true=between(float(share)),
        perplexity=8 + strength**2 / 4,
    )  # fmt: skip


STRENGTHS = (-4.0, -2.0, 0.0, 2.0, 4.0)


def steering():
    along = tuple(steered(c) for c in STRENGTHS)
    blind = tuple(
        steered(c, gain, "random", number)
        for number, gain in enumerate((0.1, -0.15, 0.02))
        for c in STRENGTHS
    )
    return along + blind


def counts(**given):
    fields = {
        "statements": {"train": 120, "validation": 40, "test": 40},
        "pairs": {"train": 480, "validation": 160, "test": 160},
        "false_statements": 40,
        "left_out": {"shorter than 6 tokens": 3},
        "groups": 2,
        "questions": 40,
        "units": {"neuron": 2304, "head": 24},
    }
    return HonestyCounts(**fields | given)


def result(**changes):
    fields = {
        "model": "models/knowledge",
        "honest": "An honest person says :",
        "dishonest": "A dishonest person says :",
        "template": "plain",
        "layers": tuple(range(NUM_LAYERS)),
        "method": "mean_difference",
        "evidence": (
            *evidence(), *evidence(half="validation"),
            *evidence("shuffled_pca", drop=0.1),
            *evidence("shuffled_pca", "validation", 0.1),
        ),
        "band": band(),
        "transfers": transfers(),
        "units": (unit(), unit("head", 4, 1, -0.9)),
        "steering": steering(),
        "steered_layers": (2, 3, 4),
        "counts": counts(),
    }  # fmt: skip
    return HonestyResult(**fields | changes)


def scored(name="q0", kind="honest", pieces=PIECES, sign=1, num_prompt=1, **given):
    """A text whose score grows from token to token and layer to layer."""
    grown = np.outer(
        np.linspace(0.2, 1.5, len(pieces)), np.linspace(0, 1.6, NUM_LAYERS)
    )
    score = (sign * grown).astype(np.float32)
    fields = {
        "name": name,
        "kind": kind,
        "title": f"under the {kind} instruction",
        "text": "".join(pieces),
        "pieces": tuple(pieces),
        "is_prompt": np.arange(len(pieces)) < num_prompt,
        "layers": tuple(range(NUM_LAYERS)),
        "score": score,
        "band_score": score[:, 2:5].mean(1),
    }
    return ScoredText(**fields | given)


def texts():
    return (
        scored("q0", "honest"), scored("q0", "dishonest", sign=-1),
        scored("made up", "given", num_prompt=0),
    )  # fmt: skip


def study(changes=None, **of_result):
    """A whole run; `changes` are of its findings."""
    made = result(**of_result)
    fields = {
        "model": ModelIdentity(
            source="models/knowledge", sha256="ab" * 32, base_sha256="ab" * 32,
            family="llama", dtype="float32", device="cpu", num_weights=750_000,
        ),
        "result": made,
        "texts": texts(),
        "verdict": honesty_verdict(made),
        "cautions": honesty_cautions(made),
    }  # fmt: skip
    return HonestyStudy(
        settings={"model": "models/knowledge", "seed": 0},
        versions={"driftmap": "0.1", "torch": "2.13"},
        findings=HonestyFindings(**fields | (changes or {})),
    )


def bare():
    """No texts, no transfers, no steering, no units."""
    made = result(transfers=(), units=(), steering=(), steered_layers=())
    whole = study()
    return replace(
        whole, findings=replace(whole.findings, result=made, texts=(), cautions=())
    )
