"""Does a result with arrays come back as it was, and is damage named?"""

import json
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
import pytest
from jaxtyping import Float64

from driftmap.core.errors import DataError, StoreError
from driftmap.results.expert_study import ExpertFindings
from driftmap.store.arrays_apart import load_apart, save_apart
from made_expert_studies import findings

KIND = "driftmap.experts"


def same(one, other):
    """Equal in every field, arrays by their numbers and types."""
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif is_dataclass(one):
        assert type(one) is type(other)
        for field in fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            same(one[key], other[key])
    else:
        assert one == other


def test_findings_of_experts_come_back_as_they_were(tmp_path):
    made = findings()
    save_apart(tmp_path, "experts", made, KIND)
    same(made, load_apart(tmp_path, "experts", ExpertFindings, KIND))


def test_what_was_not_measured_comes_back_as_nothing(tmp_path):
    made = findings(effects=None, agreement=None, drift={}, rounds=(), arms=())
    save_apart(tmp_path, "experts", made, KIND)
    same(made, load_apart(tmp_path, "experts", ExpertFindings, KIND))


def test_the_same_findings_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        save_apart(tmp_path / name, "experts", findings(), KIND)
    for file in ("experts.json", "experts.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (
            tmp_path / "two" / file
        ).read_bytes()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Small:
    name: str
    scores: Float64[np.ndarray, "bank expert"]
    other: Float64[np.ndarray, " bank"] | None = None


def saved(tmp_path):
    value = Small(name="a", scores=np.array([[1.0, np.nan]]))
    save_apart(tmp_path, "small", value, "driftmap.test")
    return tmp_path / "small.json"


def test_the_words_name_the_arrays(tmp_path):
    assert json.loads(saved(tmp_path).read_text()) == {
        "kind": "driftmap.test",
        "version": 1,
        "name": "a",
        "other": None,
        "scores": {"array": "small.scores", "dtype": "float64", "axes": 2},
    }


def test_the_bytes_are_pinned(tmp_path):
    assert saved(tmp_path).read_bytes() == (
        b'{\n  "kind": "driftmap.test",\n  "name": "a",\n  "other": null,\n'
        b'  "scores": {\n    "array": "small.scores",\n    "axes": 2,\n'
        b'    "dtype": "float64"\n  },\n  "version": 1\n}\n'
    )
    written = (tmp_path / "small.safetensors").read_bytes()
    assert written[8 + written[0] :] == np.array([1.0, np.nan]).tobytes()
    header = json.loads(written[8 : 8 + written[0]])
    assert header["small.scores"] == {
        "dtype": "F64", "shape": [1, 2], "data_offsets": [0, 16],
    }  # fmt: skip
    assert json.loads(header["__metadata__"]["driftmap"]) == {
        "kind": "driftmap.test",
        "version": 1,
    }


def test_arrays_of_another_shape_are_refused(tmp_path):
    file = saved(tmp_path)
    words = json.loads(file.read_text())
    words["other"] = words["scores"]
    file.write_text(json.dumps(words))
    with pytest.raises(DataError, match=r"other: 'float64\[1, 2\]' is not a "):
        load_apart(tmp_path, "small", Small, "driftmap.test")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"array": "small.gone"}, "small.gone is missing; write the file again"),
        ({"dtype": "int64"}, r"small.scores is float64 with 2 axes, not int64 with 2"),
        ({"axes": "2"}, "names an array in a damaged way; make the files again"),
    ],
)
def test_damage_is_named(tmp_path, change, message):
    file = saved(tmp_path)
    words = json.loads(file.read_text())
    words["scores"] |= change
    file.write_text(json.dumps(words))
    with pytest.raises(StoreError, match=message):
        load_apart(tmp_path, "small", Small, "driftmap.test")


def test_numbers_that_no_file_may_hold_are_named(tmp_path):
    made = findings()
    verdict = replace(made.cautions[0], value=float("nan"))
    with pytest.raises(StoreError, match=r"cautions\[0\].value: nan is not a number"):
        save_apart(tmp_path, "experts", replace(made, cautions=(verdict,)), KIND)
