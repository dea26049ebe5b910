"""Does a group's file say of what its shares are?"""

import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open

from driftmap.core.places import Site
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.groups import load_group, save_group

SITE = Site(path="m.0.up", layer=0, part="up", num_rows=2, num_columns=4)
ORIGIN = GroupOrigin(model_sha256="a", base_sha256="a", rule="lowest", score="wanda")


@pytest.mark.parametrize("per", ["matrix", "row", "global", "2:4"])
def test_what_shares_are_of_comes_back(tmp_path, per):
    origin = replace(ORIGIN, per=per)
    file = tmp_path / "lowest.safetensors"
    members = {SITE: np.array([1, 3], dtype=np.int64)}
    save_group(file, WeightGroup(name="lowest", members=members, origin=origin))
    assert load_group(file).origin == origin
    with safe_open(file, framework="numpy") as content:
        header = json.loads(content.metadata()["driftmap"])
    # Files of shares of a matrix are the same bytes as before there were others.
    assert header["origin"].get("per") == (None if per == "matrix" else per)
