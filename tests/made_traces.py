"""Prompts, cells and grids made by hand, for tests of what is computed from them."""

import numpy as np
import torch

from driftmap.results.facts import EncodedFact, Fact
from driftmap.results.trace_kinds import Noise
from driftmap.results.traces import TraceGrid
from driftmap.signals.traces import Restoring, TraceCells


def made_prompt(ids, subject, answer=(7,), foil=(), name="f"):
    """A prompt of these tokens; the answer's tokens but the last stand behind them."""
    ids = list(ids)
    return EncodedFact(
        fact=Fact(id=name, subject="S", prompt="S is", answer="a", foil="b"),
        token_ids=np.array(ids + list(answer)[:-1], dtype=np.int32),
        num_prompt=len(ids),
        subject=subject,
        answer_ids=tuple(answer),
        foil_ids=tuple(foil),
        tokens=tuple(f"t{i}" for i in ids),
        offsets=tuple((i, i + 1) for i in range(len(ids))),
    )


def made_cells(scores, low, high, *, kind="hidden", method="naive"):
    """Cells of `scores[token layer draw]`."""
    return TraceCells(
        restoring=Restoring(kind=kind),
        scores=torch.tensor(scores, dtype=torch.float64),
        low=torch.tensor(low, dtype=torch.float64),
        high=high,
        method=method,
    )


def made_grid(effects, subject, *, low=0.1, high=0.9, name="f", **given):
    """A grid whose indirect effects are `effects[token layer]`."""
    from driftmap.measure.tracing import token_roles

    effects = np.array(effects, dtype=np.float64)
    fields = {
        "fact_id": name,
        "kind": "hidden",
        "window": None,
        "dims": None,
        "score": effects + low,
        "standard_error": np.zeros_like(effects),
        "low": low,
        "high": high,
        "tokens": tuple(f"t{i}" for i in range(len(effects))),
        "subject": subject,
        "roles": token_roles(len(effects), subject),
        "answer": " a",
        "foil": None,
        "is_known": True,
        "outcome": "prob",
        "noise": Noise(),
        "method": "naive",
    }
    return TraceGrid(**fields | given)
