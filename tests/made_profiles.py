"""Traces as they would be measured, made by hand or planted with a pattern."""

import numpy as np

from driftmap.results.facts import Fact
from driftmap.results.trace_kinds import Noise
from driftmap.results.traces import TraceGrid

TOKENS = ("<s>", "Ada", " Lovelace", " lives", " in")
ROLES = (
    (), ("first subject",), ("last subject",), ("first later",), ("last",),
)  # fmt: skip


def grid(row, *, low=0.1, high=0.9, known=True, answer="Rome", roles=ROLES, other=None):
    """A grid that holds `row` (outcomes) at the last subject token."""
    score = np.full((len(roles), len(row)), low) if other is None else other.copy()
    at = next(t for t, held in enumerate(roles) if "last subject" in held)
    score[at] = row
    return TraceGrid(
        fact_id="x", kind="hidden", window=None, dims=None, score=score,
        standard_error=np.zeros_like(score), low=low, high=high,
        tokens=TOKENS[: len(roles)], subject=(1, 3), roles=roles, answer=answer,
        foil=None, is_known=known, outcome="prob", noise=Noise(), method="naive",
    )  # fmt: skip


def fact(name, said="", *, subject=None, relation="city", answer="Rome", back=False):
    """A prompt `name` that says the fact `said`."""
    return Fact(
        id=name, fact_id=said, subject=subject or (said or name), prompt=f"{name} is",
        relation=relation, answer=answer, direction="reversed" if back else "forward",
    )  # fmt: skip


def crossed(strength, *, subjects=8, relations=2, wordings=3, layers=6, seed=0):
    """Subjects x relations x wordings; each fact's own pattern times `strength`.

    Returns:
        Facts and the grids of their prompts, in the same order.
    """
    rng = np.random.default_rng(seed)
    facts, grids = [], []
    for who in range(subjects):
        for what in range(relations):
            own = rng.normal(size=layers)
            for number in range(wordings):
                said = f"{who}/{what}"
                row = 0.5 + 0.05 * (strength * own + rng.normal(size=layers))
                facts.append(
                    fact(f"{said}/{number}", said, subject=f"s{who}",
                         relation=f"r{what}", answer=f"a{who}{what}")
                )  # fmt: skip
                grids.append(grid(row))
    return facts, grids
