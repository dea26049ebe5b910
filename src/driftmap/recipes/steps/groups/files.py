"""Where in a run do the groups lie, and in which order are they listed?"""

from collections.abc import Sequence
from pathlib import Path

from driftmap.core.errors import StoreError
from driftmap.results.groups import WeightGroup
from driftmap.results.plain import to_plain
from driftmap.results.provenance import ModelIdentity
from driftmap.results.table import Table
from driftmap.store.groups import load_group, save_group
from driftmap.store.plain import load_json, save_json
from driftmap.store.steps import StepOutcome
from driftmap.store.tables import load_table, save_table

MODEL_FILE = "model.json"
"""Where a run keeps which model it speaks of."""

MODEL_KIND = "driftmap.model"

AGREEMENT_FILE = "tables/agreement.parquet"
"""Where a run keeps how far halves of its samples agree on each group."""

GRID_FILE = "tables/difference_grid.parquet"
"""Where a run keeps what its declared group would be at other shares, if asked."""

OVERLAP_FILE = "tables/group_overlap.parquet"
"""Where a run keeps how much its groups share, pair by pair and matrix by matrix."""

ORDER_FILE = "groups.json"
"""Where a run keeps the names of its groups: the declared one, its control, others."""

ORDER_KIND = "driftmap.groups"


def save_groups(
    folder: Path,
    groups: Sequence[WeightGroup],
    model: ModelIdentity,
    agreement: Table,
) -> None:
    """Write all that the groups step makes.

    Args:
        folder: Where the step writes.
        groups: The declared group, its control, then the others, as reports list them.
        model: The model they were chosen on.
        agreement: What halves of the samples agree on, by group.
    """
    for group in groups:
        save_group(folder / _file(group.name), group)
    order = {"order": [group.name for group in groups]}
    save_json(folder / ORDER_FILE, order, ORDER_KIND)
    save_json(folder / MODEL_FILE, to_plain(model), MODEL_KIND)
    save_table(folder / AGREEMENT_FILE, agreement)


def save_grid(folder: Path, grid: Table | None) -> None:
    """Write what the declared group would be at other shares, where it is known.

    Args:
        folder: Where the groups step writes.
        grid: A row for each pair of shares; None where nobody asked.
    """
    if grid is not None:
        save_table(folder / GRID_FILE, grid)


def read_grid(step: StepOutcome) -> Table | None:
    """Read that table of a finished step; None where nobody asked for it.

    Raises:
        StoreError: The file is damaged.
    """
    return load_table(step.path(GRID_FILE)) if GRID_FILE in step.files else None


def save_overlaps(folder: Path, overlaps: Table) -> None:
    """Write how much the groups share.

    Args:
        folder: Where the groups step writes.
        overlaps: A row for each pair of groups and place.
    """
    save_table(folder / OVERLAP_FILE, overlaps)


def read_overlaps(step: StepOutcome) -> Table | None:
    """Read that table of a finished step; None where an earlier version made it.

    Raises:
        StoreError: The file is damaged.
    """
    return load_table(step.path(OVERLAP_FILE)) if OVERLAP_FILE in step.files else None


def read_groups(step: StepOutcome) -> tuple[WeightGroup, ...]:
    """Read the groups of a finished step, the declared one first, then its control.

    Raises:
        StoreError: A file is missing or damaged.
    """
    file = step.path(ORDER_FILE)
    names = load_json(file, ORDER_KIND).get("order")
    if not isinstance(names, list) or len(names) < 2:
        raise StoreError(f"{file}: is damaged; remove it and repeat the command")
    return tuple(load_group(step.path(_file(str(name)))) for name in names)


def _file(name: str) -> str:
    return f"groups/{name}.safetensors"
