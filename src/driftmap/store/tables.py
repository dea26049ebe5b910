"""How is a long table kept as Parquet that other tools read?"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from driftmap.core.errors import StoreError
from driftmap.results.table import Table
from driftmap.store.files import writing
from driftmap.store.plain import VERSION, check_format

TABLE_KIND = "driftmap.table"
_TYPES = {
    "b": pa.bool_(), "i": pa.int64(), "f": pa.float64(), "U": pa.string(),
}  # fmt: skip


def save_table(path: Path, table: Table) -> None:
    """Write a table, the same bytes each time with one version of pyarrow.

    Integers are kept as int64 and real numbers as float64.

    Raises:
        StoreError: A column is neither text, number nor boolean, or the disk refuses.
    """
    names = list(table.columns)
    types = [_type(path, name, table[name]) for name in names]
    arrays = [pa.array(table[n], type=t) for n, t in zip(names, types, strict=True)]
    schema = pa.schema(
        [pa.field(n, t, nullable=False) for n, t in zip(names, types, strict=True)],
        metadata={"kind": TABLE_KIND, "version": str(VERSION)},
    )
    with writing(path) as temporary:
        pq.write_table(
            pa.Table.from_arrays(arrays, schema=schema), temporary, compression="zstd"
        )


def load_table(path: Path) -> Table:
    """Read a table that `save_table` wrote.

    Raises:
        StoreError: The file is missing, damaged, foreign, or of a newer version.
    """
    try:
        # `read_table` would turn folders named `a=1` above the file into columns.
        with pq.ParquetFile(path) as file:
            read = file.read()
    except FileNotFoundError:
        raise StoreError(f"{path}: there is no such file; check the name") from None
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise StoreError(
            f"{path}: is damaged or not Parquet ({reason}); make it again"
        ) from error
    found = read.schema.metadata or {}
    version = found.get(b"version", b"")
    header = {
        "kind": found.get(b"kind", b"").decode(errors="replace"),
        "version": int(version) if version.isdigit() else None,
    }
    check_format(path, header, TABLE_KIND)
    return Table(columns={n: _column(read.column(n)) for n in read.column_names})


def _type(path: Path, name: str, column: np.ndarray) -> pa.DataType:
    kind = "i" if column.dtype.kind == "u" else column.dtype.kind
    if kind not in _TYPES or column.ndim != 1:
        raise StoreError(
            f"{path}: column {name!r} is {column.dtype}; "
            "a table holds text, whole numbers, real numbers and booleans"
        )
    return _TYPES[kind]


def _column(column: pa.ChunkedArray) -> np.ndarray:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), dtype=str)
    return column.to_numpy()
