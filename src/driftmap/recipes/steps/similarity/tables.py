"""Which tables of a study of similar samples are written for other programs?"""

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path

from driftmap.results.retrieval import RetrievalStudy
from driftmap.results.table import Table
from driftmap.stats.retrieval.tables import (
    energy_table,
    profile_table,
    query_table,
    selection_table,
    unit_table,
)
from driftmap.store.files import write_text
from driftmap.store.tables import save_table

TABLES: Mapping[str, Callable[[RetrievalStudy], Table]] = {
    "units": unit_table,
    "queries": query_table,
    "selection": selection_table,
    "energy": energy_table,
}


def write_tables(folder: Path, measure: str, study: RetrievalStudy) -> None:
    """Write `tables/MEASURE-*.parquet`, and the profiles of odd queries as CSV.

    Args:
        folder: Of the run.
        measure: What the files are called.
        study: The numbers.
    """
    home = folder / "tables"
    home.mkdir(exist_ok=True)
    for name, table_of in TABLES.items():
        table = table_of(study)
        if len(table):
            save_table(home / f"{measure}-{name}.parquet", table)
    for of_set in study.sets:
        if of_set.odd:
            file = home / f"{measure}-odd-{of_set.name}.csv"
            write_text(file, _csv(profile_table(study, of_set)))


def _csv(table: Table) -> str:
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(zip(*(c.tolist() for c in table.columns.values()), strict=True))
    return written.getvalue()
