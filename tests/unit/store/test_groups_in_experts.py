"""Do files of groups keep which expert or router a matrix is of?"""

import numpy as np

from driftmap.core.places import RowBlocks, Site
from driftmap.results.groups import GroupOrigin, WeightGroup
from driftmap.store.groups import load_group, save_group

ORIGIN = GroupOrigin(model_sha256="a", base_sha256="a", rule="lowest", score="wanda")


def test_an_expert_s_matrix_comes_back_as_what_it_was(tmp_path):
    sites = [
        Site(
            path="b.0.experts", layer=0, part="up", num_rows=2, num_columns=3,
            split=RowBlocks(start=1, length=1, stride=2, count=2), transposed=True,
            expert=expert, tensor="gate_up_proj",
        )
        for expert in (0, 11)
    ]  # fmt: skip
    router = Site(
        path="b.0.gate", layer=0, part="router", num_rows=2, num_columns=3,
        tensor="weight",
    )  # fmt: skip
    members = {site: np.array([1, 4]) for site in (*sites, router)}
    group = WeightGroup(name="g", members=members, origin=ORIGIN)
    save_group(tmp_path / "g.safetensors", group)
    assert list(load_group(tmp_path / "g.safetensors").members) == [router, *sites]
