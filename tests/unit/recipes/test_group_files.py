"""Are the groups of a run read in the order in which they were listed?"""

import json

import numpy as np
import pytest

from driftmap.core.errors import StoreError
from driftmap.core.places import Site
from driftmap.recipes.steps.groups.files import ORDER_FILE, read_groups, save_groups
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.results.provenance import ModelIdentity
from driftmap.results.table import Table
from driftmap.store.run_dir import RunDir

NAMES = ("zeta circuit.v2", "matched", "alpha")
SITE = Site(path="m.0.q", layer=0, part="q", num_rows=4, num_columns=4)
MODEL = ModelIdentity(
    source="m", sha256="a", base_sha256="a", family="llama", dtype="float32",
    device="cpu", num_weights=16,
)  # fmt: skip


@pytest.fixture
def step(tmp_path):
    origin = GroupOrigin(model_sha256="a", base_sha256="a", rule="imported")
    groups = [
        WeightGroup(name=name, members={SITE: np.array([n])}, origin=origin)
        for n, name in enumerate(NAMES)
    ]
    agreement = Table.from_rows([{"group": NAMES[0], "jaccard": np.nan}])
    with RunDir.open(tmp_path / "run", {"seed": 0}, "drift") as run:
        yield run.step(
            "groups", {}, lambda folder: save_groups(folder, groups, MODEL, agreement)
        )


def test_the_order_is_kept_whatever_the_names(step):
    assert tuple(group.name for group in read_groups(step)) == NAMES


def test_the_order_has_pinned_bytes(step):
    assert step.path(ORDER_FILE).read_bytes() == (
        b'{\n  "kind": "driftmap.groups",\n  "order": [\n    "zeta circuit.v2",\n'
        b'    "matched",\n    "alpha"\n  ],\n  "version": 1\n}\n'
    )


@pytest.mark.parametrize("order", [None, 5, [], ["matched"]])
def test_a_damaged_order_is_refused(step, order):
    file = step.path(ORDER_FILE)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"order": order}))
    with pytest.raises(StoreError, match="is damaged; remove it and repeat"):
        read_groups(step)


def test_a_group_outside_the_run_is_refused(step):
    file = step.path(ORDER_FILE)
    order = {"order": ["matched", "../../secret"]}
    file.write_text(json.dumps(json.loads(file.read_text()) | order))
    with pytest.raises(StoreError, match=r"made no groups/\.\./\.\./secret"):
        read_groups(step)
