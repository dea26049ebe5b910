"""How do traces become long tables that other tools read?

NaN stands where a number was not made, and an empty text where there is none.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from driftmap.results.fact_traces import FactTrace
from driftmap.results.table import Table
from driftmap.results.traces import RoleEffects, TraceGrid
from driftmap.store.tables import save_table

FACTS, CELLS, ROLES = (f"tables/{name}.parquet" for name in ("facts", "cells", "roles"))
PLACES = "tables/places.parquet"


def facts_table(traces: Sequence[FactTrace]) -> Table:
    """One row for each fact.

    Returns:
        Columns fact, said, subject, relation, direction, prompt, answer, choice, known
        (`yes`, `no`, or nothing where no answer is given), high, low, control, traced.
    """
    known = {True: "yes", False: "no", None: ""}
    return Table(
        columns={
            "fact": _texts([one.fact_id for one in traces]),
            "said": _texts([one.said for one in traces]),
            "subject": _texts([one.subject for one in traces]),
            "relation": _texts([one.relation for one in traces]),
            "direction": _texts([one.direction for one in traces]),
            "prompt": _texts([one.prompt for one in traces]),
            "answer": _texts([one.answer for one in traces]),
            "choice": _texts([one.choice for one in traces]),
            "known": _texts([known[one.is_known] for one in traces]),
            "high": np.array([one.high for one in traces]),
            "low": np.array([one.low for one in traces]),
            "control": np.array(
                [np.nan if one.control is None else one.control for one in traces]
            ),
            "traced": np.array([one.is_traced for one in traces]),
        }
    )


def cells_table(traces: Sequence[FactTrace]) -> Table:
    """One row for each cell that was traced or estimated.

    Returns:
        Columns fact, kind, method, token (from 0), text, roles (with `+` between),
        layer, score, effect (score minus low), standard_error.
    """
    grids = [grid for one in traces for grid in (*one.grids, *one.exact)]
    return Table.joined([_cells(grid) for grid in grids] or [_no_cells()])


def roles_table(effects: Sequence[RoleEffects]) -> Table:
    """One row for each kind, role and layer.

    Returns:
        Columns kind, method, role, layer, effect, ci_low, ci_high, num (facts), best
        (the layer is the role's best one).
    """
    rows = [(one, cell) for one in effects for cell in one.cells]
    best = {(one.kind, b.role): b.layer for one in effects for b in one.best}
    return Table(
        columns={
            "kind": _texts([one.kind for one, _ in rows]),
            "method": _texts([one.method for one, _ in rows]),
            "role": _texts([cell.role for _, cell in rows]),
            "layer": np.array([cell.layer for _, cell in rows], np.int64),
            "effect": np.array([c.effect.estimate for _, c in rows], np.float64),
            "ci_low": np.array([c.effect.low for _, c in rows], np.float64),
            "ci_high": np.array([c.effect.high for _, c in rows], np.float64),
            "num": np.array([c.effect.num for _, c in rows], np.int64),
            "best": np.array(
                [best.get((one.kind, c.role)) == c.layer for one, c in rows], bool
            ),
        }
    )


def places_table(traces: Sequence[FactTrace]) -> Table:
    """One row for each place that an estimate points to.

    Returns:
        Columns fact, kind, token (from 0), layer, estimate, exact: the outcome, as
        estimated and as traced.
    """
    rows = [(one.fact_id, place) for one in traces for place in one.places]
    return Table(
        columns={
            "fact": _texts([fact for fact, _ in rows]),
            "kind": _texts([place.kind for _, place in rows]),
            "token": np.array([place.token for _, place in rows], np.int64),
            "layer": np.array([place.layer for _, place in rows], np.int64),
            "estimate": np.array([p.estimate for _, p in rows], np.float64),
            "exact": np.array([p.exact for _, p in rows], np.float64),
        }
    )


def save_trace_tables(
    folder: Path, traces: Sequence[FactTrace], effects: Sequence[RoleEffects]
) -> None:
    """Write `tables/facts.parquet`, `cells`, `roles` and, of estimates, `places`.

    Args:
        folder: Of the run, or of the step that makes them.
        traces: All facts.
        effects: Averages; empty where there are none.

    Raises:
        StoreError: The disk refuses.
    """
    (folder / "tables").mkdir(exist_ok=True)
    save_table(folder / FACTS, facts_table(traces))
    save_table(folder / CELLS, cells_table(traces))
    save_table(folder / ROLES, roles_table(effects))
    if any(one.places for one in traces):
        save_table(folder / PLACES, places_table(traces))


def _cells(grid: TraceGrid) -> Table:
    tokens, layers = np.nonzero(~np.isnan(grid.score))
    roles = np.array(["+".join(names) for names in grid.roles], dtype=str)
    num = len(tokens)
    return Table(
        columns={
            "fact": np.full(num, grid.fact_id),
            "kind": np.full(num, grid.kind),
            "method": np.full(num, grid.method),
            "token": tokens,
            "text": _texts(grid.tokens)[tokens],
            "roles": roles[tokens],
            "layer": layers,
            "score": grid.score[tokens, layers],
            "effect": grid.indirect_effect[tokens, layers],
            "standard_error": grid.standard_error[tokens, layers],
        }
    )


def _no_cells() -> Table:
    texts, numbers = np.empty(0, "U1"), np.empty(0, np.float64)
    wholes = np.empty(0, np.int64)
    return Table(
        columns={
            "fact": texts, "kind": texts, "method": texts, "token": wholes,
            "text": texts, "roles": texts, "layer": wholes, "score": numbers,
            "effect": numbers, "standard_error": numbers,
        }
    )  # fmt: skip


def _texts(values: Sequence[str]) -> np.ndarray:
    return np.array(list(values), dtype=str)
