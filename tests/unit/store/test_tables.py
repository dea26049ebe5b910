import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from driftmap.core.errors import StoreError
from driftmap.results.table import Table
from driftmap.store.tables import load_table, save_table

TABLE = Table.from_rows(
    [
        {"step": 500, "group": "top", "mean": 0.1 + 0.2, "mobile": True},
        {"step": 1000, "group": "zufällig", "mean": -0.0, "mobile": False},
    ]
)


def assert_equal_tables(left: Table, right: Table):
    assert list(left.columns) == list(right.columns)
    for name, column in left.columns.items():
        assert right[name].dtype.kind == column.dtype.kind
        np.testing.assert_array_equal(column, right[name], strict=True)


def test_the_example_round_trips(tmp_path):
    save_table(tmp_path / "t.parquet", TABLE)
    assert_equal_tables(TABLE, load_table(tmp_path / "t.parquet"))


@given(
    st.integers(0, 5).flatmap(
        lambda n: st.fixed_dictionaries(
            {
                "i": hnp.arrays(np.int64, n),
                "f": hnp.arrays(np.float64, n),
                "b": hnp.arrays(bool, n),
                "s": hnp.arrays("U3", n, elements=st.text("aä ", max_size=3)),
            }
        )
    )
)
def test_any_table_round_trips(tmp_path_factory, columns):
    path = tmp_path_factory.mktemp("table") / "t.parquet"
    save_table(path, Table(columns=columns))
    read = load_table(path)
    for name in "ifb":
        np.testing.assert_array_equal(read[name], columns[name], strict=True)
    assert read["s"].tolist() == columns["s"].tolist()


def test_a_table_without_columns_round_trips(tmp_path):
    save_table(tmp_path / "t", Table(columns={}))
    assert load_table(tmp_path / "t").columns == {}


def test_the_same_table_gives_the_same_bytes_in_another_process(tmp_path):
    code = (
        "import sys; from pathlib import Path\n"
        "from driftmap.store.tables import load_table, save_table\n"
        "save_table(Path(sys.argv[2]), load_table(Path(sys.argv[1])))"
    )
    one, two = tmp_path / "one", tmp_path / "two"
    save_table(one, TABLE)
    subprocess.run([sys.executable, "-c", code, str(one), str(two)], check=True)
    assert one.read_bytes() == two.read_bytes()


def test_the_schema_is_pinned(tmp_path):
    save_table(tmp_path / "t", TABLE)
    schema = pq.read_schema(tmp_path / "t")
    assert [f"{f.name} {f.type} {f.nullable}" for f in schema] == [
        "step int64 False", "group string False", "mean double False",
        "mobile bool False",
    ]  # fmt: skip
    assert schema.metadata == {b"kind": b"driftmap.table", b"version": b"1"}


def test_folder_names_become_no_columns(tmp_path):
    path = tmp_path / "seed=1" / "t.parquet"
    save_table(path, TABLE)
    assert list(load_table(path).columns) == list(TABLE.columns)


def test_narrow_numbers_become_wide(tmp_path):
    narrow = {"i": np.array([1], np.uint8), "f": np.array([0.5], np.float32)}
    save_table(tmp_path / "t", Table(columns=narrow))
    read = load_table(tmp_path / "t")
    assert (read["i"].dtype, read["f"].dtype) == (np.int64, np.float64)


@pytest.mark.parametrize(
    "column", [np.array([None]), np.array(["2020-01-01"], "M8[D]"), np.ones((2, 2))]
)
def test_other_columns_are_named(tmp_path, column):
    with pytest.raises(StoreError, match="; a table holds text, whole numbers"):
        save_table(tmp_path / "t", Table(columns={"x": column}))
    assert not (tmp_path / "t").exists()


def test_damaged_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "t"
    with pytest.raises(StoreError, match="no such file; check the name"):
        load_table(path)
    path.write_text("step,mean\n1,2\n")
    with pytest.raises(StoreError, match="is damaged or not Parquet"):
        load_table(path)
    save_table(path, TABLE)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match="is damaged or not Parquet"):
        load_table(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(StoreError, match=r"no driftmap data, not driftmap\.table"):
        load_table(path)
    newer = {"kind": "driftmap.table", "version": "2"}
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(newer), path)
    with pytest.raises(StoreError, match="of version 2, this driftmap reads up to 1"):
        load_table(path)
