"""Is the drift of experts and routers read from whole checkpoints?"""

import pytest
import torch

from driftmap.core.errors import ModelError
from driftmap.families.discover import find_layout
from driftmap.families.matrices import set_site_weight, site_weight
from driftmap.load.expert_files import file_places
from driftmap.load.full_changes import FullChanges, StoredMatrices, moved_sites
from driftmap.load.other_parts import other_parts
from tiny_experts import tiny_moe


@pytest.mark.parametrize("family", ["olmoe", "mixtral", "gpt_oss", "granitemoe"])
def test_what_moved_is_found_and_how_far(tmp_path, family):
    model = tiny_moe(family)
    layout = find_layout(model)
    model.save_pretrained(tmp_path / "before")
    ends = ("#expert.3.gate", "#expert.5.down", "#expert.0.up")
    moved = [s for s in layout.sites if s.key.endswith(ends) or s.part == "router"]
    changes = {}
    for number, site in enumerate(moved):
        before = site_weight(model, site).clone()
        set_site_weight(model, site, before + 0.01 * (number + 1))
        changes[site] = site_weight(model, site).double() - before.double()
    model.save_pretrained(tmp_path / "after")
    places = file_places(model, layout.banks, layout.sites)
    before, after = (
        StoredMatrices(tmp_path / name, places) for name in ("before", "after")
    )
    assert moved_sites(before, after, layout.sites) == tuple(moved)
    found = FullChanges(before, after, moved)
    for site, change in changes.items():
        assert torch.equal(found[site].values, change), site.key
    assert other_parts(before, after, layout.sites) == ()


def test_a_folder_of_another_model_is_refused(tmp_path):
    model = tiny_moe("olmoe")
    layout = find_layout(model)
    tiny_moe("gpt_oss").save_pretrained(tmp_path)
    places = file_places(model, layout.banks, layout.sites)
    site = next(site for site in layout.sites if site.expert is not None)
    message = (
        "it has no tensor model.layers.0.mlp.experts.0.gate_proj.weight, which the "
        "model has; give a checkpoint of this model"
    )
    with pytest.raises(ModelError, match=message):
        StoredMatrices(tmp_path, places).tensor_of(site)
