"""The files of traces, as other programs read them."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq

from driftmap.results.fact_traces import ExactPlace, FactTrace, FactTraces
from driftmap.results.statistics import Interval
from driftmap.results.trace_kinds import Noise
from driftmap.results.traces import BestLayer, RoleEffects, RoleLayer, TraceGrid
from driftmap.store.arrays_apart import load_apart, save_apart
from driftmap.store.trace_tables import save_trace_tables

GRID = TraceGrid(
    fact_id="a",
    kind="hidden",
    window=None,
    dims=None,
    score=np.array([[0.25, 0.5], [np.nan, np.nan]]),
    standard_error=np.array([[0.0, 0.125], [np.nan, np.nan]]),
    low=0.25,
    high=0.75,
    tokens=("é", "is"),
    subject=(0, 1),
    roles=(("first subject", "last subject"), ("first later", "last")),
    answer="Y",
    foil=None,
    is_known=True,
    outcome="prob",
    noise=Noise(level=0.5),
    method="wavefront",
)
TRACED = FactTrace(
    fact_id="a",
    said="a",
    subject="é",
    relation="P1",
    direction="forward",
    prompt="é is",
    answer="Y",
    choice="Y",
    is_known=True,
    high=0.75,
    low=0.25,
    control=0.125,
    grids=(GRID,),
    places=(ExactPlace(kind="hidden", token=0, layer=1, estimate=0.5, exact=0.25),),
)
UNKNOWN = FactTrace(
    fact_id="b",
    said="a",
    subject="é",
    relation="",
    direction="reversed",
    prompt="of é",
    answer="Z",
    choice="Y",
    is_known=False,
    high=0.5,
    low=0.5,
    control=None,
    grids=(),
)
MEAN = Interval(estimate=0.25, low=0.0, high=0.5, level=0.95, num=1)
EFFECTS = RoleEffects(
    kind="hidden",
    window=None,
    cells=(RoleLayer(role="last subject", layer=1, effect=MEAN),),
    best=(
        BestLayer(
            role="last subject",
            layer=1,
            low=0,
            high=1,
            effect=0.25,
            mean_of_maxima=0.25,
            num=1,
        ),
    ),
    total_effect=MEAN,
    control_effect=None,
    high=0.75,
    low=0.25,
    num_facts=1,
    num_unknown=1,
    num_negative=0,
    pooled=False,
    method="wavefront",
)


def rows_of(path):
    """Rows with their types, read without any of our code."""
    table = pq.read_table(path)
    types = {field.name: str(field.type) for field in table.schema}
    return types, table.to_pylist()


def test_tables_have_these_columns(tmp_path):
    save_trace_tables(tmp_path, [TRACED, UNKNOWN], [EFFECTS])

    types, facts = rows_of(tmp_path / "tables/facts.parquet")
    texts = [
        *("fact", "said", "subject", "relation", "direction"),
        *("prompt", "answer", "choice", "known"),
    ]
    assert types == dict.fromkeys(texts, "string") | dict.fromkeys(
        ("high", "low", "control"), "double"
    ) | {"traced": "bool"}
    assert [row["known"] for row in facts] == ["yes", "no"]
    assert facts[0]["subject"] == "é"
    assert (facts[0]["control"], facts[0]["traced"]) == (0.125, True)
    assert np.isnan(facts[1]["control"])

    types, cells = rows_of(tmp_path / "tables/cells.parquet")
    assert types == dict.fromkeys(
        ("fact", "kind", "method", "text", "roles"), "string"
    ) | dict.fromkeys(("token", "layer"), "int64") | dict.fromkeys(
        ("score", "effect", "standard_error"), "double"
    )
    assert cells == [
        {
            "fact": "a", "kind": "hidden", "method": "wavefront", "token": 0,
            "text": "é", "roles": "first subject+last subject", "layer": layer,
            "score": score, "effect": score - 0.25, "standard_error": error,
        }
        for layer, score, error in [(0, 0.25, 0.0), (1, 0.5, 0.125)]
    ]  # fmt: skip

    _, roles = rows_of(tmp_path / "tables/roles.parquet")
    assert roles == [
        {
            "kind": "hidden", "method": "wavefront", "role": "last subject",
            "layer": 1, "effect": 0.25, "ci_low": 0.0, "ci_high": 0.5, "num": 1,
            "best": True,
        }
    ]  # fmt: skip
    _, places = rows_of(tmp_path / "tables/places.parquet")
    assert places == [
        {
            "fact": "a", "kind": "hidden", "token": 0, "layer": 1, "estimate": 0.5,
            "exact": 0.25,
        }
    ]  # fmt: skip


def test_a_run_without_averages_or_estimates_has_tables_too(tmp_path):
    save_trace_tables(tmp_path, [UNKNOWN], [])

    for name in ("cells", "roles"):
        assert rows_of(tmp_path / f"tables/{name}.parquet")[1] == []
    assert not (tmp_path / "tables/places.parquet").exists()


def test_traces_are_kept_in_these_bytes(tmp_path):
    found = FactTraces(outcome="prob", noise=GRID.noise, traces=(TRACED, UNKNOWN))
    save_apart(tmp_path, "traces", found, "driftmap.traces")

    told = json.loads((tmp_path / "traces.json").read_text())
    assert told["traces"][0]["grids"][0]["score"] == {
        "array": "traces.traces[0].grids[0].score", "axes": 2, "dtype": "float64",
    }  # fmt: skip
    digests = {
        path.suffix: hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        for path in tmp_path.iterdir()
    }
    assert digests == {".json": "86d3769a896b06c5", ".safetensors": "971168efd3fc05c1"}

    read = load_apart(tmp_path, "traces", FactTraces, "driftmap.traces")
    assert np.array_equal(read.traces[0].grids[0].score, GRID.score, equal_nan=True)
    assert read.traces[1].grids == ()
